"""The only room with ``rclpy``: what the core does, over ROS 2 topics.

``segmenter`` (lifecycle node) is put together from ``parameters``, ``inputs`` and ``synchronizer`` (what comes in),
``stream`` and ``worker`` (what becomes of it), ``publishers`` and ``diagnostics`` (what goes out). ``player``,
``recorder`` and ``run`` stand in for ``ros2 bag`` and ``ros2 launch`` where there is no ROS distribution.
"""
