# lits-serve as an image: buildah or docker build --target cpu . (or cuda). docs/serve/deploy.md says how to run it.
ARG BASE=docker.io/library/python:3.12-slim

FROM ${BASE} AS source
WORKDIR /src
COPY LICENSE README.md pyproject.toml setup.cfg ./
COPY runtime runtime
COPY train train
COPY export export
COPY tools tools
RUN python3 -m venv /opt/lits

FROM source AS install-cpu
RUN /opt/lits/bin/pip install --no-cache-dir "/src[cpu,dicom,serve]" && /opt/lits/bin/pip uninstall --yes pip setuptools

# The CUDA libraries come as packages: the base needs none, the host its driver.
FROM source AS install-cuda
RUN /opt/lits/bin/pip install --no-cache-dir "/src[cuda,dicom,serve]" && /opt/lits/bin/pip uninstall --yes pip setuptools

FROM ${BASE} AS base
# ONNX Runtime must not report to its maker, whichever way it is started.
ENV HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1 \
    PATH=/opt/lits/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN mkdir /state && chown 65534:65534 /state
VOLUME /state
WORKDIR /state
EXPOSE 8080 11112
USER 65534:65534
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["lits-serve", "--host", "0.0.0.0", "--state", "/state"]

FROM base AS cuda
COPY --from=install-cuda /opt/lits /opt/lits
CMD ["--provider", "cuda"]

FROM base AS cpu
COPY --from=install-cpu /opt/lits /opt/lits
CMD ["--provider", "cpu"]
