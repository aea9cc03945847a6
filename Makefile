# Each target is one script or cargo call; what it does is in there.
#
#   make up      install what the system lacks, build, start a cloud on this machine (root, or sudo for what needs it)
#   make test    everything that must hold before a change is merged; the last line is `N passed, N failed` (root)
#   make check   the quick part of it: format, lints, house rules
#   make bench   the figures of docs/benchmarks.md
#   make lab     machines that a test computer is not: Xen; the services under systemd, on two hosts; Ceph;
#                VPCs as VLANs on three hosts
#   make soak    the seeded simulation, a million schedules; S3's histories for five minutes; Walrus killed
#                under writers 500 times, and its power cut as often; controllers killed under 200
#                booting guests, while one is bundled, and 20 times under counted packets
#   make fuzz    the fuzz targets, for as long as you like
#   make images  the demo images
#   make install programs, service units and guides into the system, or below DESTDIR; starts nothing
#   make clean   what the build made; clouds keep their state (karri down --terminate removes that)

# Cron jobs and services may have none.
export HOME ?= $(shell getent passwd "$$(id -u)" | cut -d: -f6)
# Where rustup puts it, for a shell that was open before it did.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
CARGO ?= cargo
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
IMAGES = target/images

.PHONY: up may-start prepare build test may-test check bench lab soak fuzz images install clean

up: may-start build $(IMAGES)/tiny.manifest
	exec $(AS_ROOT) target/release/karri up

# Better told now than after the build.
may-start:
	@[ -z "$(AS_ROOT)" ] || command -v sudo >/dev/null || \
	    { echo "A cloud of real machines is started as root, and there is no sudo here. Without root: karri up --sim (README.md)" >&2; exit 1; }

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

test: may-test
	deploy/install.sh test
	$(CARGO) xtask test

may-test:
	@[ -z "$(AS_ROOT)" ] || { echo "Tests make bridges and start guests: run them as root (for make check nobody need be)" >&2; exit 1; }

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) xtask tidy

install:
	deploy/systemd/install.sh $(DESTDIR)

bench:
	deploy/install.sh bench
	$(CARGO) xtask bench

lab:
	deploy/install.sh test
	deploy/lab/run.sh all

soak: $(IMAGES)/tiny.manifest
	deploy/install.sh test
	deploy/start-libvirt.sh
	$(CARGO) build --workspace --all-targets --locked
	KARRI_SIM_SCHEDULES=1000000 $(CARGO) test --profile soak -p karri-tests --locked --test simulation
	KARRI_LINEAR_SECONDS=300 $(CARGO) test --workspace --locked --test s3 -- linear
	KARRI_CRASH_ROUNDS=500 $(CARGO) test --workspace --locked --test objects --test suite -- survives_a_
	KARRI_CHAOS_IMAGE=tiny KARRI_CHAOS_LAUNCHES=200 target/test-venv/bin/python -u tests/system/chaos_test.py
	KARRI_BUNDLE_KILLS=each target/test-venv/bin/python -u tests/system/bundle_instance_test.py
	KARRI_NETWORK_RUNS=200 $(CARGO) test --workspace --locked --test networks
	KARRI_NETWORK_KILLS=20 target/test-venv/bin/python -u tests/system/vpc_test.py

fuzz:
	$(CARGO) xtask fuzz

clean:
	$(CARGO) clean
