# One small image for each service: `docker build --target api .`, likewise worker, worker-gpu, scheduler.
# A target installs what its extra names and no more: only the workers' images hold TensorFlow.

FROM python:3.11-slim AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1
# Services run as this user. It owns these two folders and can write nowhere else; volumes take over their owner.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin overread \
    && install --directory --owner=overread --group=overread --mode=0700 \
        /var/lib/overread /var/lib/overread/data /var/lib/overread/store
WORKDIR /build
# What we depend on is installed before our own code comes, so that a changed line of ours does not install it again.
COPY pyproject.toml constraints.txt ./
RUN touch README.md LICENSE && pip install --constraint constraints.txt '.[postgres]'

FROM base AS wheel
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM base AS api
RUN pip install --constraint constraints.txt '.[api,postgres]'
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl
WORKDIR /
USER 10001:10001
ENV OVERREAD_API_HOST=0.0.0.0
EXPOSE 8484
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "shared.health", "api"]
CMD ["overread", "api"]

FROM base AS worker
RUN pip install --constraint constraints.txt '.[onnx,openvino,postgres,worker]'
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl
WORKDIR /
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "shared.health", "worker"]
CMD ["overread", "worker"]

# The same with CUDA's libraries, for machines with an NVIDIA GPU.
FROM base AS worker-gpu
RUN pip install --constraint constraints.txt '.[gpu,onnx,openvino,postgres]'
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl
WORKDIR /
USER 10001:10001
# To compute, and to ask the driver what there is.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "shared.health", "worker"]
CMD ["overread", "worker"]

FROM base AS scheduler
RUN pip install --constraint constraints.txt '.[scheduler,postgres]'
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --force-reinstall /wheels/*.whl
WORKDIR /
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "shared.health", "scheduler"]
CMD ["overread", "scheduler"]
