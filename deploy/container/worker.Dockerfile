# Index workers (default) and light workers (arguments: light).
#   docker build -f deploy/container/worker.Dockerfile -t regionmir-worker .
# For NVIDIA GPUs, PyTorch's CUDA build from its own index; run with --gpus 1:
#   docker build -f deploy/container/worker.Dockerfile -t regionmir-worker:cuda \
#     --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
ARG PYTHON=python:3.11.14-slim-bookworm
FROM ${PYTHON} AS build
ARG TORCH=2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
RUN python -m venv /opt/regionmir \
    && /opt/regionmir/bin/pip install --no-cache-dir --index-url "${TORCH_INDEX}" "torch==${TORCH}"
COPY pyproject.toml constraints.txt README.md ./
COPY regionmir regionmir
COPY dicom_node dicom_node
COPY workers workers
COPY db db
COPY models models
RUN /opt/regionmir/bin/pip install --no-cache-dir --constraint constraints.txt '.[node,worker,s3,trace]'

FROM ${PYTHON}
LABEL org.opencontainers.image.title="RegionMIR worker" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 regionmir && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin regionmir \
    && install -d -o regionmir -g regionmir -m 0700 /data
COPY --from=build /opt/regionmir /opt/regionmir
ENV PATH=/opt/regionmir/bin:$PATH PYTHONUNBUFFERED=1 REGIONMIR_DATA_DIR=/data REGIONMIR_LOG_JSON=true \
    REGIONMIR_METRICS_HOST=0.0.0.0 REGIONMIR_METRICS_PORT=9464
USER 10001:10001
VOLUME /data
EXPOSE 9465 9466
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["sh", "-c", "python -m regionmir.monitoring.health 9465 || python -m regionmir.monitoring.health 9466"]
ENTRYPOINT ["python", "-m", "workers"]
CMD ["index"]
