# Two images of one recipe. lvray: heads and tasks that read, on CPUs. lvray-gpu: training and the service.
#   docker build --target lvray --build-arg TORCH_INDEX=<the index of CPU builds, see PyTorch's page> -t lvray:TAG .
#   docker build --target lvray-gpu -t lvray-gpu:TAG .
# scripts/pin-base writes the base's digest here.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS system
# KubeRay's commands and probes want bash, wget and pkill. Debian's mirrors keep no old versions to pin.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends bash ca-certificates procps tini wget \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin lvray \
 && python3 -m venv /opt/lvray
ENV PATH=/opt/lvray/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM system AS lock
WORKDIR /src
COPY requirements.lock ./
COPY scripts/runtime scripts/
RUN python scripts/runtime >runtime.lock

FROM system AS torch
ARG TORCH_INDEX PIP_NO_INDEX PIP_FIND_LINKS
# The version is pyproject.toml's, and tests/k8s/test_image.py holds the two to each other.
RUN PIP_INDEX_URL=$TORCH_INDEX pip install torch==2.13.0

FROM torch AS needs
ARG PIP_NO_INDEX PIP_FIND_LINKS
COPY --from=lock /src/runtime.lock /opt/lvray/
RUN pip install --no-deps --require-hashes -r /opt/lvray/runtime.lock

# Built by the setuptools of the lock.
FROM needs AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY lvray lvray
RUN pip wheel --no-deps --no-build-isolation --wheel-dir . .

FROM needs AS whole
COPY --from=wheel /src/lvray-*.whl /tmp/
RUN pip install --no-index --no-deps /tmp/lvray-*.whl && rm /tmp/lvray-*.whl && pip check
ENV HOME=/tmp PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /tmp
# Signals to lvray alone, not to its group (-g): it needs its Ray to save, or to end the service in order.
ENTRYPOINT ["tini", "--"]
CMD ["lvray", "--help"]

FROM whole AS lvray
RUN python -c "import torch; assert not torch.version.cuda, 'CUDA in the CPU image: give TORCH_INDEX'"

FROM whole AS lvray-gpu
# GKE lays the driver there, and looks for nothing itself.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64
USER 0:0
# torch.compile makes its kernels with a C compiler.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && python -c "import torch; assert torch.version.cuda, 'no CUDA in the GPU image: leave TORCH_INDEX out'"
USER 1000:1000
