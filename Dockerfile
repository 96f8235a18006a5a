# The GitHub webhooks sample: its web process and its worker, as compose.yaml runs them.
#
# A tag can be moved to another image, a digest cannot; docs/security.md says how to find one.
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE}

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# Before the source, so that a change to it does not install the dependencies again.
COPY examples/requirements.lock examples/
RUN pip install --require-hashes --requirement examples/requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-deps --no-build-isolation . \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin oxherd

COPY examples ./examples

USER 10001
EXPOSE 8000
CMD ["oxherd", "worker", "examples.github_webhooks:herd", "--log-format", "json"]
