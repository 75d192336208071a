# Ulna's commands. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export OMP_WAIT_POLICY := PASSIVE

ONCE ?=
GPU ?=
ARCH ?=
BOARD ?=

.PHONY: help demo test test-vivid test-arm cross deb image libtorch deps trainer dashboard demo-bundle bench bench-prune schemas audit fmt clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: ## build edge and show it on phantom studies (ONCE=1: stop after the last result)
	cargo build --profile ci --locked -p edge
	target/ci/edge demo --dir edge/demo $(if $(ONCE),--once)

test: ## fetch what the tests need, then run every check and test
	scripts/test-deps.sh
	python3 scripts/run-tests.py

test-vivid: ## try the frame grabber on the kernel's V4L2 test driver, in an emulated machine
	tests/vivid/run.sh

test-arm: ## all that is tried on emulated boards: both ARM binaries, the package, the board image (hours; needs root)
	scripts/cross.sh armv7 --profile ci
	TRACT_CPU_ISA=+fp16 QEMU_CPU=cortex-a76 scripts/cross.sh aarch64 test --profile ci --lib inference::
	scripts/deb.sh --profile ci arm64 amd64
	tests/deb/run.sh target/deb-ci/ulna-edge_*_amd64.deb
	python3 tests/machine/run.py --all
	deploy/image/build.sh --deb "$$(ls -t target/deb-ci/ulna-edge_*_arm64.deb | head -n 1)" --out target/image
	python3 tests/image/run.py --built target/image

cross: ## build edge for both ARM targets without a container engine: target/TARGET/release/edge
	scripts/cross.sh aarch64
	scripts/cross.sh armv7

deb: ## build packages and tarballs for arm64, armhf and amd64: target/deb (ARCH=arm64: that one)
	scripts/deb.sh $(ARCH)

image: ## build the board image and its update bundle from target/deb's package: target/image (BOARD=rpi4: for a Raspberry Pi 4)
	deploy/image/build.sh --deb "$$(ls -t target/deb/ulna-edge_*_arm64.deb | head -n 1)" --board $(or $(BOARD),uefi)

libtorch: ## fetch the CPU half of libtorch into third_party/libtorch
	scripts/get-libtorch.sh third_party/libtorch

deps: ## fetch everything the tests need (libtorch, mosquitto, DCMTK, Chromium, scikit-learn, ONNX Runtime, cargo-deny, Node.js)
	scripts/test-deps.sh

trainer: libtorch ## build the trainer: target/release/trainer
	cargo build --release --locked -p trainer

dashboard: ## build the fleet's page: deploy/dashboard/dist (needs Node.js 20.19 or newer)
	npm --prefix deploy/dashboard ci
	npm --prefix deploy/dashboard run build

demo-bundle: trainer ## train, prune and export the demo bundle again, from nothing (up to an hour on 2 cores)
	scripts/demo-bundle.sh

bench: ## measure a view beside ONNX Runtime, OpenVINO and ncnn on the same ONNX files, into BENCHMARKS.md
	cargo build --release --locked -p edge
	scripts/bench-inference.py --write

bench-prune: trainer ## measure what pruning costs on phantoms, into BENCHMARKS.md (an hour on 2 cores; GPU=1: more, on a GPU)
	scripts/bench-prune.py $(if $(GPU),--gpu)

schemas: ## write the JSON Schemas, example messages, AsyncAPI document and reference of the payloads again
	ULNA_BLESS=1 cargo test --locked -p contract --test it -- committed_schemas committed_messages
	ULNA_BLESS=1 cargo test --locked -p contract --test it -- the_committed_asyncapi the_readme

audit: ## check dependencies against the advisory database (needs the network)
	cargo deny check

fmt: ## format the sources
	cargo fmt --all

clean: ## remove what was built (third_party stays)
	cargo clean
