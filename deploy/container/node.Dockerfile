# The DICOM node. Build from the repository's root: docker build -f deploy/container/node.Dockerfile -t regionmir-node .
# PYTHON: give the image with its digest (python:3.11-slim-bookworm@sha256:...) where builds must repeat exactly.
ARG PYTHON=python:3.11.14-slim-bookworm
FROM ${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/regionmir
COPY pyproject.toml constraints.txt README.md ./
COPY regionmir regionmir
COPY dicom_node dicom_node
COPY workers workers
COPY db db
COPY models models
RUN /opt/regionmir/bin/pip install --no-cache-dir --constraint constraints.txt '.[node,s3,trace]'

FROM ${PYTHON}
LABEL org.opencontainers.image.title="RegionMIR node" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 regionmir && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin regionmir \
    && install -d -o regionmir -g regionmir -m 0700 /data
COPY --from=build /opt/regionmir /opt/regionmir
ENV PATH=/opt/regionmir/bin:$PATH PYTHONUNBUFFERED=1 REGIONMIR_DATA_DIR=/data REGIONMIR_LOG_JSON=true \
    REGIONMIR_DICOM_HOST=0.0.0.0 REGIONMIR_METRICS_HOST=0.0.0.0 REGIONMIR_METRICS_PORT=9464 \
    REGIONMIR_DICOM_PROCESSES=1
USER 10001:10001
VOLUME /data
EXPOSE 11112 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "regionmir.monitoring.health", "11112", "9464"]
ENTRYPOINT ["python", "-m", "dicom_node"]
