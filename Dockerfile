# The GitHub webhooks sample: its web process and its worker, as compose.yaml runs them.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# Before the source, so that a change to it does not install the dependencies again.
COPY requirements.lock ./
RUN pip install --requirement requirements.lock \
    && pip install "starlette>=0.45,<2" "uvicorn>=0.34,<1"

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-deps . \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin oxherd

COPY examples ./examples

USER 10001
EXPOSE 8000
CMD ["oxherd", "worker", "examples.github_webhooks:herd", "--log-format", "json"]
