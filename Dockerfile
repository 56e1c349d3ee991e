# A web replica, or a worker (`flask jobs work`): no TensorFlow, no compiler, no npm, not root.
FROM node:22-slim AS browser-code
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM python:3.12-slim AS packages
WORKDIR /build
COPY requirements-web.txt ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r requirements-web.txt

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin marrow \
    && install -d -o marrow -g marrow -m 0700 /data
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY --from=browser-code \
    /build/node_modules/openseadragon/build/openseadragon/openseadragon.min.js \
    /build/node_modules/openseadragon/LICENSE.txt \
    static/vendor/openseadragon/
COPY app.py wsgi.py gunicorn.conf.py pyproject.toml LICENSE ./
COPY utils utils
COPY templates templates
COPY static static
COPY models models
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    OMP_NUM_THREADS=1 \
    MARROW_FIND_BIND=0.0.0.0:8000 \
    MARROW_FIND_INSTANCE_DIR=/data
USER marrow
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=8)"]
CMD ["gunicorn"]
