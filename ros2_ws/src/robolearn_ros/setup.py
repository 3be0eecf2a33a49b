"""The ROS 2 package: modules, executables, and what goes into share/."""

from glob import glob

from setuptools import find_packages, setup

NAME = "robolearn_ros"
NODES = ("hardware_node", "sim_node", "safety_monitor", "policy_node", "teleop_node", "recorder_node")

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=[NAME]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/config", sorted(glob("config/*.yaml"))),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py"))),
    ],
    install_requires=["setuptools"],  # robolearn itself comes from pip; see docs/deployment.md
    package_data={NAME: ["*.xml"]},
    zip_safe=False,  # Fast DDS reads its profile from a file
    maintainer="robolearn maintainers",
    maintainer_email="maintainers@robolearn.example.org",
    description="Nodes that run a trained policy on a robot, simulated or real, under a safety monitor.",
    license="Apache-2.0",
    extras_require={"test": ["pytest"]},
    entry_points={"console_scripts": [f"{node} = {NAME}.{node}:main" for node in NODES]},
)
