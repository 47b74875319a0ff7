# syntax=docker/dockerfile:1
# Each step is proved without Docker by tests/test_packaging.py: the locks, the wheel, the read-only root, the check.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /src
# What runs comes first: these layers change only with the lock.
COPY requirements/all.txt requirements/build.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/gateway \
    && /opt/gateway/bin/python -m pip install --require-hashes -r requirements/all.txt
# The tools that build the wheel stay in this stage.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY gateway gateway
COPY plugins plugins
COPY config config
# Compiled here, because the root is read-only where it runs; pip is not needed there either.
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/gateway/bin/python -m pip install --no-deps --no-index /wheels/*.whl \
    && /opt/gateway/bin/python -m compileall -q /opt/gateway/lib \
    && /opt/gateway/bin/python -m pip uninstall --yes --quiet pip setuptools

FROM python:${PYTHON_VERSION}-slim
RUN groupadd --gid 1000 gateway \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /srv/gateway --shell /usr/sbin/nologin gateway \
    && install --directory --owner 1000 --group 1000 /srv/gateway /srv/gateway/var
COPY --from=build /opt/gateway /opt/gateway
# The home: mount your own folder over it. var/ is the only place that is ever written: the ledger is there, and the
# state where it is a file. A named volume mounted there takes the owner that the folder has here.
COPY gateway.yaml /srv/gateway/gateway.yaml
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEWAY_HOME=/srv/gateway \
    GATEWAY_LISTEN=0.0.0.0:8080 \
    GATEWAY_ADMIN_LISTEN=off
WORKDIR /srv/gateway
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['GATEWAY_LISTEN'].rpartition(':')[2]), timeout=2); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["gateway", "serve"]
