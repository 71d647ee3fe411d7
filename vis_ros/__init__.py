"""Video instance segmentation for ROS 2: masks with identities that last.

Importing this package imports neither torch nor rclpy.
"""

# Hand-written modules and the generated vis_ros.msg may lie in two places at once: a checkout and an install prefix.
__path__ = __import__('pkgutil').extend_path(__path__, __name__)

__version__ = '0.1.0'
