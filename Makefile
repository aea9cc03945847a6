# Each target is one script or cargo call; what it does is in there.
#
#   make up      install what the system lacks, build, start a cloud on this machine (root)
#   make test    everything that must hold before a change is merged; the last line is `N passed, N failed`
#   make check   the quick part of it: format, lints, house rules
#   make bench   the figures of docs/benchmarks.md
#   make lab     several hosts as virtual machines: VLANs, Xen, long runs
#   make soak    the seeded simulation, a million schedules; S3's histories for five minutes; Walrus killed
#                under writers 500 times; controllers killed under 200 booting guests
#   make fuzz    the fuzz targets, for as long as you like
#   make images  the demo images
#   make clean   what the build made; clouds keep their state (karri down --terminate removes that)

# Where rustup puts it, for a shell that was open before it did.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
CARGO ?= cargo
IMAGES = target/images

.PHONY: up prepare build test check bench lab soak fuzz images clean

up: build $(IMAGES)/tiny.manifest
	exec target/release/karri up

prepare:
	deploy/install.sh run

build: prepare
	$(CARGO) build --release --locked -p karri-cli -p karri-clc -p karri-cc -p karri-nc -p karri-walrus

$(IMAGES)/tiny.manifest: | prepare
	deploy/images/tiny.sh $(IMAGES)

images:
	deploy/install.sh images
	deploy/images/tiny.sh $(IMAGES)
	deploy/images/debian.sh $(IMAGES)

test:
	deploy/install.sh test
	$(CARGO) xtask test

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) xtask tidy

bench:
	deploy/install.sh bench
	$(CARGO) xtask bench

lab:
	deploy/install.sh test
	deploy/lab/run.sh all

soak:
	deploy/install.sh test
	deploy/start-libvirt.sh
	$(CARGO) build --workspace --all-targets --locked
	KARRI_SIM_SCHEDULES=1000000 $(CARGO) test --workspace --locked --test simulation
	KARRI_LINEAR_SECONDS=300 $(CARGO) test --workspace --locked --test s3 -- linear
	KARRI_CRASH_ROUNDS=500 $(CARGO) test --workspace --locked --test objects --test suite -- survives_a_kill
	KARRI_CHAOS_IMAGE=tiny KARRI_CHAOS_LAUNCHES=200 target/test-venv/bin/python -u tests/system/chaos_test.py

fuzz:
	$(CARGO) xtask fuzz

clean:
	$(CARGO) clean
