# make demo: segment a phantom CT with the bundled model.
# make test: make lint, then all tests. make test-fast: those that take no more than a moment each.
# make lint: ruff, mypy, import-linter with the layers of setup.cfg, codespell and hadolint.
# make bench: speed and memory of lits-infer; BENCH='-m fp16=model.onnx --checkpoint baseline.pth'.
# make bench-model: PyTorch and the file of each precision; BENCH='--checkpoint baseline.pth'.
# make web-libraries: the libraries of the server's pages, fetched anew by npm.
# make bench-loader: loading of training data; BENCH='path/to/LiTS/cases'.
PYTHON ?= python3
WORKERS ?= 2
SOURCES := setup.cfg pyproject.toml

.PHONY: demo lint test test-fast bench bench-model bench-loader web-libraries clean

demo: .venv/installed
	.venv/bin/lits-data phantom demo --seed 7 --lesions 3 --quiet
	mv -f demo/volume-7.nii.gz demo/scan.nii.gz
	mv -f demo/segmentation-7.nii.gz demo/reference.nii.gz
	.venv/bin/lits-infer demo/scan.nii.gz -o demo/mask.nii.gz --force
	.venv/bin/lits-view demo/scan.nii.gz --mask demo/mask.nii.gz -o demo/overlay.png --force
	@echo "Look at demo/overlay.png; scan.nii.gz and mask.nii.gz beside it open in any NIfTI viewer."

lint: .venv-test/installed
	.venv-test/bin/ruff format --check .
	.venv-test/bin/ruff check .
	.venv-test/bin/mypy
	.venv-test/bin/lint-imports --no-logo
	.venv-test/bin/codespell
	.venv-test/bin/hadolint Dockerfile

test: lint
	.venv-test/bin/python -m pytest -n $(WORKERS) -m "not gpu"

test-fast: .venv-test/installed
	.venv-test/bin/python -m pytest -n $(WORKERS) --dist=worksteal -m "not slow and not gpu"

bench: .venv-test/installed
	.venv-test/bin/python -m lits_tools.benchmark.runtime_cli $(BENCH)

bench-model: .venv-test/installed
	.venv-test/bin/python -m lits_tools.benchmark.model_cli $(BENCH)

bench-loader: .venv-test/installed
	.venv-test/bin/python -m lits_tools.benchmark.loader_cli $(BENCH)

web-libraries: .venv-test/installed
	.venv-test/bin/python -m lits_tools.bundled.web_libraries

.venv/installed: $(SOURCES)
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --editable '.[cpu,tools]'
	touch $@

.venv-test/installed: $(SOURCES)
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install --quiet --upgrade pip # it resolves [dev] in half a minute, Python 3.11's in minutes
	.venv-test/bin/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-test demo bench build dist *.egg-info
