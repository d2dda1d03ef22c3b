# The targets are what CI runs. `make up` and `make test` work from a fresh clone.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# Processes of tests: one more than cores, as they often wait for servers; more than four would be in
# each other's way. A file's tests stay in one; files are begun in the order of tests/conftest.py.
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
PARALLEL := -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
.DEFAULT_GOAL := help

.PHONY: help up training test test-fast lint types contracts check lock bench-tensor bench-compute bench-chat bench-sandbox bench-ledger bench-encryption bench-fairness bench-overhead bench-import bench-training bench-kill-training bench-detection bench-explain-planted bench-words bench-keras bench-serving-while-training clean proto docs

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

.venv/.core: requirements/core.txt pyproject.toml
	@bash requirements/install core $(PYTHON)

.venv/.dev: requirements/dev.txt requirements/core.txt pyproject.toml
	@bash requirements/install dev $(PYTHON)

.venv/.train: requirements/train.txt requirements/core.txt pyproject.toml
	@bash requirements/install train $(PYTHON)

training: .venv/.train ## install what training needs, besides: torch and more

up: .venv/.core ## start Modelry with the starter models
	@exec $(BIN)/modelry up $(ARGS)

test: .venv/.dev ## run every test
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-fast: .venv/.dev ## unit, contract and architecture tests only
	@$(BIN)/python -m pytest $(PARALLEL) tests/unit tests/contract tests/architecture $(ARGS)

lint: .venv/.dev ## ruff: style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/.dev ## mypy, strict
	@$(BIN)/mypy

contracts: .venv/.dev ## which layer may import which
	@$(BIN)/lint-imports --no-cache

check: lint types contracts test ## everything CI checks

lock: .venv/.dev ## renew the lock files
	@bash requirements/lock

bench-tensor: .venv/.dev ## tensor serving against its limit and a peer
	@$(BIN)/python -m benchmarks.tensor $(ARGS)

bench-compute: .venv/.dev ## a model that takes all the time, against raw onnxruntime
	@$(BIN)/python -m benchmarks.compute_bound $(ARGS)

bench-footprint: .venv/.dev ## start-up time and memory
	@$(BIN)/python -m benchmarks.footprint $(ARGS)

bench-sandbox: .venv/.dev ## what shutting workers in costs
	@$(BIN)/python -m benchmarks.sandbox $(ARGS)

bench-encryption: .venv/.dev ## what encryption at rest costs
	@$(BIN)/python -m benchmarks.encryption $(ARGS)

bench-ledger: .venv/.dev ## what a record of usage costs
	@$(BIN)/python -m benchmarks.ledger $(ARGS)

bench-fairness: .venv/.dev ## what a flooding tenant does to a quiet one
	@$(BIN)/python -m benchmarks.fairness $(ARGS)

bench-overhead: .venv/.dev ## what authorisation, limits and metering cost
	@$(BIN)/python -m benchmarks.overhead $(ARGS)

bench-detection: .venv/.dev ## a detector trained on the made set, asked through /v1/detect
	@$(BIN)/python -m benchmarks.detection $(ARGS)

bench-explain-planted: .venv/.dev ## explanations of models of which it is known what they look at
	@$(BIN)/python -m benchmarks.explaining_planted $(ARGS)

bench-words: .venv/.dev ## word embeddings beside gensim's own and the same in torch
	@$(BIN)/python -m benchmarks.word_embeddings $(ARGS)

bench-import: .venv/.dev ## importing datasets: rows per second and memory
	@$(BIN)/python -m benchmarks.dataset_import $(ARGS)

bench-keras: .venv/.dev ## the Keras program of the documentation, plain and on Modelry
	@$(BIN)/python -m benchmarks.keras_program $(ARGS)

bench-serving-while-training: .venv/.dev ## what a training job does to the latency of serving
	@$(BIN)/python -m benchmarks.serving_while_training $(ARGS)

bench-kill-training: .venv/.dev ## training that is killed at random points, against one that is not
	@$(BIN)/python -m benchmarks.kill_training $(ARGS)

bench-chat: .venv/.dev ## chat serving against the engine's own server
	@$(BIN)/python -m benchmarks.chat $(ARGS)

bench-training: .venv/.dev ## how well and how fast recipes train
	@$(BIN)/python -m benchmarks.training $(ARGS)

clean: ## remove the virtual environment and build leftovers
	rm -rf .venv dist build

.PHONY: bench-training-gpu
bench-training-gpu: .venv/.dev ## how fast recipes train on a GPU beside the CPU of the same machine
	@$(BIN)/python -m benchmarks.training_gpu $(ARGS)

.PHONY: bench-backbone
bench-backbone: .venv/.dev ## a registered network learns classes of few rows, against learning from nothing
	@$(BIN)/python -m benchmarks.backbone $(ARGS)

.PHONY: bench-chat-tuning
bench-chat-tuning: .venv/.dev ## a chat model fine-tuned on real e-mails, against itself before
	@$(BIN)/python -m benchmarks.chat_tuning $(ARGS)

.PHONY: bench-translation
bench-translation: .venv/.dev ## a translator trained here, against copying and word for word
	@$(BIN)/python -m benchmarks.translation $(ARGS)

.PHONY: bench-summarisation
bench-summarisation: .venv/.dev ## summaries by a model trained here, against the texts' beginnings
	@$(BIN)/python -m benchmarks.summarisation $(ARGS)

.PHONY: bench-explain-chat
bench-explain-chat: .venv/.dev ## whether explanations of chats find the fact that was answered from
	@$(BIN)/python -m benchmarks.explaining_chat $(ARGS)

.PHONY: bench-explain
bench-explain: .venv/.dev ## explanations beside SHAP's and Captum's own, and Quantus's scores of them
	@$(BIN)/python -m benchmarks.explaining $(ARGS)

.PHONY: bench-serving-while-explaining
bench-serving-while-explaining: .venv/.dev ## what explanations do to the latency of serving
	@$(BIN)/python -m benchmarks.serving_while_explaining $(ARGS)

proto: .venv/.dev ## renew the generated gRPC messages
	@cd src/modelry/protocols/oip && ../../../../$(BIN)/python -m grpc_tools.protoc -I. --python_out=generated --pyi_out=generated open_inference.proto
	@# messages of a pool of their own: tritonclient, whose messages have the same names, may be in the process
	@sed -i 's/_descriptor_pool\.Default()/_descriptor_pool.DescriptorPool()/' src/modelry/protocols/oip/generated/open_inference_pb2.py

docs: .venv/.dev ## renew the generated reference pages
	@$(BIN)/python tools/reference.py
