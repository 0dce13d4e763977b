# Needs make, Python 3.11 to 3.13 and a C++ compiler; everything else is installed into .venv and .uv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first of these that works; `make run PYTHON=python3.13` selects another.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.11 python3.12 python3.13; do \
	"$$python" setup_check.py --quiet 2>/dev/null && { echo "$$python"; exit; }; done; echo python3)
endif
ARGS ?=

UV := .uv/bin/uv
DIGITS := .venv/bin/digits
# Written last, so that an interrupted setup runs again.
READY := .venv/.ready-$(notdir $(PYTHON))

VERSION := $(shell sed -nE 's/^ *version="(.*)",/\1/p' setup.py)
IMAGE ?= digit-classifier:$(VERSION)

# Another registry or digest for the base image of deploy/Dockerfile.
PYTHON_IMAGE ?=

.PHONY: help setup run serve notebook test test-slow test-containers test-flink image lint format lock audit sbom tf-serving-runtime flink clean

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r target text; do \
		printf '  make %-18s %s\n' "$$target" "$$text"; done

setup: $(READY)  ## Create .venv from uv.lock; does nothing if it is up to date.

run: $(READY)  ## Run the pipeline on MNIST; options of `digits run`: ARGS="--profile fast".
	@$(DIGITS) run $(ARGS)

serve: $(READY)  ## Serve the pushed models and the drawing page; options of `digits serve`: ARGS="--rest-port 9000".
	@$(DIGITS) serve $(ARGS)

notebook: $(READY)  ## Open the notebook in JupyterLab; options of `jupyter lab`: ARGS="--no-browser".
	@# The URL is for where there is no browser, and JupyterLab prints a link. The variable selects the kernel of .venv,
	@# even if the user has installed another one of the same name.
	@JUPYTER_PREFER_ENV_PATH=1 .venv/bin/jupyter lab digit_classifier.ipynb \
		--LabApp.default_url=/lab/tree/digit_classifier.ipynb \
		$(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

test: $(READY)  ## Run the tests in parallel; options of pytest: ARGS="tests/pipeline -k settings".
	@.venv/bin/python -m pytest --numprocesses 3 --no-loadscope-reorder $(ARGS)

test-slow: $(READY)  ## Run the slow tests: Kubeflow's contract, other data, the commands in the guides.
	@.venv/bin/python -m pytest -m slow --numprocesses 3 --no-loadscope-reorder $(ARGS)

test-containers: $(READY)  ## Build the image; run the whole pipeline and each step in it.
	@.venv/bin/python -m pytest -m containers tests/containers $(ARGS)

test-flink: $(READY) flink  ## Run the data steps on embedded and standalone Flink; needs Java 17.
	@.venv/bin/python -m pytest -m flink tests/flink $(ARGS)

image:  ## Build the image for all steps with docker or podman; name it with IMAGE=registry/name:tag.
	@# `docker info` fails if there is only a client and no engine.
	@for engine in docker podman; do \
		if "$$engine" info >/dev/null 2>&1; then \
			exec "$$engine" build --file deploy/Dockerfile --tag "$(IMAGE)" --build-arg VERSION="$(VERSION)" \
				--build-arg REVISION="$$(git describe --always --dirty 2>/dev/null || echo unknown)" \
				$(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE="$(PYTHON_IMAGE)") .; \
		fi; \
	done; \
	echo "Neither docker nor podman works: install one of them and start its engine." >&2; exit 1

lint: $(READY)  ## Check format, style, types and import rules.
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

format: $(READY)  ## Format the code.
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

lock: $(UV)  ## Update uv.lock and the requirements files from setup.py and pyproject.toml.
	@$(UV) lock
	@$(UV) export --quiet --locked --no-dev --all-extras --no-emit-project --no-header --output-file requirements.txt
	@$(UV) export --quiet --locked --no-dev --extra gs --extra s3 --no-emit-project --no-header \
		--output-file deploy/requirements.txt
	@$(UV) export --quiet --locked --only-group uv --no-header --output-file requirements-uv.txt

audit: $(UV)  ## Check uv.lock for known vulnerabilities, except those that pyproject.toml accepts in `tool.uv.audit`.
	@# uv fails with "Request failed" only if it cannot reach the database.
	@if ! report=$$($(UV) audit --locked --preview-features audit-command 2>&1); then \
		if grep -q 'error: Request failed' <<<"$$report"; then \
			echo "Skipped: the vulnerability database, api.osv.dev, cannot be reached." >&2; exit; \
		fi; \
		echo "$$report" >&2; exit 1; \
	fi

DEBIAN_COMPONENT := {"type": "library", "name": "$${Package}", "version": "$${Version}", \
	"purl": "pkg:deb/debian/$${Package}@$${Version}?arch=$${Architecture}"}
sbom: $(UV)  ## List the packages in .venv and the image, including Debian's, in CycloneDX in build/sbom/.
	@mkdir -p build/sbom
	@for name in environment image; do \
		[[ $$name = image ]] && groups="--no-dev --extra gs --extra s3" || groups="--extra notebook"; \
		$(UV) export --quiet --locked --preview-features sbom-export --format cyclonedx1.5 $$groups \
			--output-file "build/sbom/$$name.cdx.json"; \
	done
	@for engine in docker podman; do \
		if "$$engine" image inspect "$(IMAGE)" >/dev/null 2>&1; then \
			echo '{"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": ['; \
			"$$engine" run --rm "$(IMAGE)" dpkg-query --show --showformat '$(DEBIAN_COMPONENT),\n' | sed '$$s/,$$//'; \
			echo ']}'; break; \
		fi; \
	done >build/sbom/image-debian.cdx.json
	@find build/sbom -empty -delete
	@ls build/sbom/*

tf-serving-runtime: $(UV)  ## Install TF Serving's version of TensorFlow, for a test (Linux; 1.4 GB).
	@UV_PROJECT_ENVIRONMENT=.tf-serving-runtime UV_PYTHON_DOWNLOADS=never $(UV) sync --locked --quiet \
		--only-group tf-serving-runtime --python "$(PYTHON)"

flink: $(UV)  ## Install a Flink distribution, for the Flink tests (0.3 GB).
	@UV_PROJECT_ENVIRONMENT=.flink UV_PYTHON_DOWNLOADS=never $(UV) sync --locked --quiet --only-group flink \
		--python "$(PYTHON)"

clean:  ## Remove the environments, but not the workspace.
	rm -rf .venv .uv .tf-serving-runtime .flink build *.egg-info

$(READY): uv.lock setup.py pyproject.toml | $(UV)
	@echo "Installing into .venv (3.6 GB, a minute or two)"
	@# Where .venv is read-only later, TFX takes three times as long to import without bytecode.
	@UV_PYTHON_DOWNLOADS=never $(UV) sync --locked --quiet --compile-bytecode --extra notebook --python "$(PYTHON)"
	@touch $@

$(UV): Makefile requirements-uv.txt setup_check.py
	@command -v "$(PYTHON)" >/dev/null || { echo "No $(PYTHON) found: install Python 3.11, 3.12 or 3.13." >&2; exit 1; }
	@"$(PYTHON)" setup_check.py
	@"$(PYTHON)" -m venv --clear .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --requirement requirements-uv.txt
	@touch $@
