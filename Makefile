# make demo   two real ROS 2 nodes exchange images and tracked masks; afterwards see demo/
# make quick  before a commit: lint, types and the tests without neural networks, ROS and processes
# make test   everything that must hold before a change is merged: all tests, the colcon build, the documentation
# make test-distros   by hand, half an hour: with the versions of Ubuntu's packages, and over other wheels; the result is
#             recorded in doc/install.md
# make fuzz   read 950 damaged files of every kind, in half an hour, and print what happened
# make interruptions  kill replay, demo, training and the cache of networks at 20 moments each, and print what is left: by
#             hand, an hour
# make docs   the documentation as a site in .docs/site; fails if a link leads nowhere
#
# Both set up .venv by themselves: ROS 2 comes as wheels, nothing is installed outside this directory. The demo needs no
# torch, the tests install everything. What the machine must have: Python 3.10 to 3.14 with its venv module and its
# headers, and a C++ compiler. `make demo ROS=kilted` takes the wheels of Kilted instead of Jazzy.

PYTHON ?= python3
ROS ?= jazzy
# pyproject.toml names the wheels of Jazzy; those of another distribution are installed over a copy of the sources.
ifeq ($(ROS),jazzy)
VENV := $(CURDIR)/.venv
TREE := $(CURDIR)
else
VENV := $(CURDIR)/.venv-$(ROS)
TREE := $(VENV)/source
endif
# Jazzy has no package of the second name, and Kilted needs it.
FOR_ROS = "s/ros-jazzy-/ros-$(ROS)-/; s/ros-kilted-ament-cmake-ros\\b/&-core/"
COLCON := $(CURDIR)/.colcon
DOCS := $(CURDIR)/.docs
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

SOURCES := CMakeLists.txt package.xml pyproject.toml setup.py \
  $(shell find vis_ros msg srv launch config cmake -type f -not -path '*/__pycache__/*')

# A ROS 2 installation sourced in this shell must not mix with the wheels.
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE

DISTROS := $(CURDIR)/.distros
# What `apt` installs beside ROS 2 on Ubuntu 22.04 and 24.04.
APT_humble := numpy==1.21.5 opencv-python-headless==4.5.4.60 scipy==1.8.0 jinja2==3.0.3
APT_jazzy := numpy==1.26.4 opencv-python-headless==4.6.0.66 scipy==1.11.4 jinja2==3.1.2
TEST_NEEDS := pytest hypothesis jsonschema pillow scikit-image tabulate
PYTHON_humble := python3.10
PYTHON_jazzy := python3.12

# The tests of what calls OpenCV and numpy most, on a Python that has wheels of the old versions.
OLD_WHEELS = $(shell $(PYTHON) -c 'import sys; print(sys.version_info[:2] <= (3, 12))')
APT_TESTS := camera_info coco images instances positions visualization

.PHONY: demo test test-apt test-distros quick lint types pytest fuzz interruptions colcon docs

demo: $(VENV)/installed
	$(VENV)/bin/vis-ros demo

test: lint types pytest $(if $(filter True,$(OLD_WHEELS)),test-apt) colcon docs
	@echo 'make test: all passed'

# Before a commit, in two minutes: what needs no neural network, no ROS graph and no other process.
quick: lint types
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --quick

lint: $(VENV)/installed-for-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/installed-for-test
	$(VENV)/bin/mypy

# Two processes with one thread each: networks in several processes at once wait for each other's threads. All tests of
# a file run in one process, and so share what is made once for the file.
pytest: $(VENV)/installed-for-test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile

# All cases of test/robustness, of which `pytest` runs a share. It uses the package in this directory.
fuzz: $(VENV)/installed-for-test
	PYTHONPATH=$(CURDIR):$(CURDIR)/test OMP_NUM_THREADS=1 nice $(VENV)/bin/python -m robustness.fuzz

# It needs a machine that does nothing else: moments are seconds.
interruptions: $(VENV)/installed-for-test
	PYTHONPATH=$(CURDIR):$(CURDIR)/test OMP_NUM_THREADS=1 $(VENV)/bin/python -m robustness.interruptions

# The same tree as a colcon package, over the wheels; its tests say whether what colcon installed is complete. The pip
# wheel beside it could hide what is missing.
colcon: $(VENV)/installed-for-test
	$(PIP) uninstall --yes vis_ros && rm $(VENV)/installed
	PATH=$(VENV)/bin:$$PATH AMENT_PREFIX_PATH=$(VENV) CMAKE_PREFIX_PATH=$(VENV) \
	  colcon --log-base $(COLCON)/log build --base-paths $(CURDIR) \
	  --build-base $(COLCON)/build --install-base $(COLCON)/install \
	  --cmake-args -DCMAKE_PROJECT_INCLUDE=$(CURDIR)/cmake/pip_wheels.cmake
	PATH=$(VENV)/bin:$$PATH AMENT_PREFIX_PATH=$(VENV) \
	  colcon --log-base $(COLCON)/log test --base-paths $(CURDIR) --build-base $(COLCON)/build \
	  --install-base $(COLCON)/install --event-handlers console_cohesion+ --return-code-on-test-failure \
	  --ctest-args --tests-regex '^installation$$'
	cd $(COLCON) && PATH=$(VENV)/bin:$$PATH && . install/setup.sh && install/vis_ros/lib/vis_ros/vis_ros --help

# A robot has older versions of OpenCV and numpy than pip installs: a minute of `test-distros`.
test-apt: $(DISTROS)/apt
	OMP_NUM_THREADS=1 PYTHONPATH=$(DISTROS)/apt:$(CURDIR) $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile \
	  $(APT_TESTS:%=test/test_%.py)

$(DISTROS)/apt: $(VENV)/installed-for-test
	rm -rf $@
	$(PIP) install --no-deps --only-binary=:all: --target $@ $(filter-out jinja2%,$(APT_jazzy))

# The wheels stand for the ROS 2 of the distribution; test/test_ros_names.py compares the names that are used.
test-distros: $(DISTROS)/humble.passed $(DISTROS)/jazzy.passed
	$(MAKE) demo ROS=kilted

$(DISTROS)/%.passed: $(VENV)/build-requirements.txt $(SOURCES)
	$(PYTHON_$*) -m venv $(DISTROS)/$*
	$(DISTROS)/$*/bin/pip --disable-pip-version-check install -r $(VENV)/build-requirements.txt $(APT_$*)
	$(DISTROS)/$*/bin/pip --disable-pip-version-check install --no-build-isolation '.[ros]' $(APT_$*) $(TEST_NEEDS)
	$(DISTROS)/$*/bin/pip --disable-pip-version-check install --no-deps trackeval
	$(DISTROS)/$*/bin/python -m pytest test/test_imports.py
	$(DISTROS)/$*/bin/vis-ros doctor
	OMP_NUM_THREADS=1 $(DISTROS)/$*/bin/python -m pytest --quick $(patsubst %,--ignore=test/test_%.py,first_masks training_config weights)
	touch $@

# Needs neither ROS nor the package: the API pages are read from the source. The variable turns off advertising.
docs: $(DOCS)/requirements.txt
	NO_MKDOCS_2_WARNING=1 $(DOCS)/venv/bin/mkdocs build --strict

# The package as a user has it. Built without isolation: its build requirements are in .venv for colcon anyway.
$(VENV)/installed: $(VENV)/build-requirements.txt $(SOURCES)
ifneq ($(ROS),jazzy)
	cp -r CMakeLists.txt LICENSE README.md cmake config launch msg package.xml pyproject.toml setup.py srv vis_ros $(TREE)
	sed -i $(FOR_ROS) $(TREE)/pyproject.toml
endif
	$(PIP) install --no-build-isolation '$(TREE)[ros]'
	touch $@

# The package is there already and is not built again: this adds what its extras need.
$(VENV)/installed-for-test: pyproject.toml | $(VENV)/installed
	$(PIP) install 'vis_ros[export,tensorrt,test,train]'
	$(PIP) install --no-deps 'trackeval>=1.3'  # see pyproject.toml
	touch $@

$(VENV)/build-requirements.txt: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' || { \
	  echo 'vis_ros needs Python 3.10 to 3.14; name one: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo 'the venv module of Python is missing: sudo apt install python3-venv'; exit 1; }
	@test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || { \
	  echo 'the headers of Python are missing: sudo apt install python3-dev'; exit 1; }
	@command -v "$${CXX:-c++}" || command -v g++ || command -v clang++ || { \
	  echo 'a C++ compiler is missing: sudo apt install g++'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip tomli
	$(VENV)/bin/python -c 'import tomli; print(*tomli.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | sed $(FOR_ROS) > $@.new
	$(PIP) install -r $@.new
	mkdir -p $(TREE)
	mv $@.new $@

$(DOCS)/requirements.txt: pyproject.toml
	$(PYTHON) -m venv $(DOCS)/venv
	$(DOCS)/venv/bin/pip --disable-pip-version-check install --quiet tomli
	$(DOCS)/venv/bin/python -c 'import tomli; print(*tomli.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > $@.new
	$(DOCS)/venv/bin/pip --disable-pip-version-check install --quiet -r $@.new
	mv $@.new $@
