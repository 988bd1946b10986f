# Builds the wheel, then a small image that runs the gateway as a user without rights.
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --require-hashes -r requirements-dev.lock \
    && pip wheel --no-deps --no-build-isolation -w /wheels .

FROM python:3.12-slim
COPY requirements.lock /tmp/requirements.lock
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.lock \
    && pip install --no-cache-dir --no-deps /tmp/wheels/*.whl \
    && rm -rf /tmp/wheels /tmp/requirements.lock \
    && useradd --system --uid 10001 --home-dir /var/lib/gateway --create-home gateway
USER gateway
WORKDIR /etc/gateway
VOLUME ["/var/lib/gateway"]
EXPOSE 8440
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8440/health/ready', timeout=4)"]
ENTRYPOINT ["gateway"]
CMD ["run", "--config", "/etc/gateway", "--data-dir", "/var/lib/gateway"]
