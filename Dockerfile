# The server in a container that may do nothing but serve: see docs/deploy.md.
#
#   docker build -t emofuse .
#   docker build -t emofuse --build-arg EXTRAS=serve,asr .     (with speech recognition)
FROM python:3.12-slim AS build

# No torch: the model that ships, and every exported one, is run by onnxruntime.
ARG EXTRAS=serve
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN python -m venv /opt/emofuse

WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/emofuse/bin/pip wheel --no-deps --wheel-dir wheels . \
    && /opt/emofuse/bin/pip install "$(ls wheels/emofuse-*.whl)[$EXTRAS]"


FROM python:3.12-slim

RUN groupadd --gid 10001 emofuse \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin emofuse \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/emofuse
COPY --from=build /opt/emofuse /opt/emofuse

# Uploads pass through TMPDIR: /tmp is memory where the root file system is read-only, and as small as that.
ENV PATH=/opt/emofuse/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/var/lib/emofuse \
    MPLCONFIGDIR=/tmp/matplotlib \
    HF_HUB_OFFLINE=1

USER 10001:10001
WORKDIR /var/lib/emofuse
VOLUME /var/lib/emofuse
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

# Others can reach it, so it does not start without tokens; whoever wants that says --insecure in place of the last line.
ENTRYPOINT ["emofuse", "serve", "--host", "0.0.0.0", "--state", "/var/lib/emofuse"]
CMD ["--token-file", "/run/secrets/emofuse-tokens"]
