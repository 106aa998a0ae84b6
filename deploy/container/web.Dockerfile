# The web process: docker build -f deploy/container/web.Dockerfile -t regionmir-web .
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
RUN /opt/regionmir/bin/pip install --no-cache-dir --constraint constraints.txt '.[web,s3,trace]'

FROM ${PYTHON}
LABEL org.opencontainers.image.title="RegionMIR web" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 regionmir && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin regionmir \
    && install -d -o regionmir -g regionmir -m 0700 /data
COPY --from=build /opt/regionmir /opt/regionmir
ENV PATH=/opt/regionmir/bin:$PATH PYTHONUNBUFFERED=1 REGIONMIR_DATA_DIR=/data REGIONMIR_LOG_JSON=true \
    REGIONMIR_HTTP_HOST=0.0.0.0
USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "regionmir.monitoring.health", "8080"]
ENTRYPOINT ["python", "-m", "regionmir.web"]
