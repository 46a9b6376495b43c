"""Data sets, one file each, and their conversion to rosbag2."""
