"""The ROS 2 nodes: the only folder that imports ``rclpy``.

``segmenter_node`` and ``adapter_node`` are put together from ``input`` (topics to synchronized sweeps), ``segmenter``,
``adapter`` and ``diagnostics``; ``input`` lists the way of a LiDAR message through them. ``tools`` stands in for
``ros2 bag`` and ``ros2 launch`` where there is no ROS distribution.
"""
