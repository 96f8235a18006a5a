# The GitHub webhooks sample: its web process, its workers and its dashboard, as compose.yaml runs them.
# docs/docker.md has a Dockerfile for an application of your own.
#
# A tag can be moved to another image, a digest cannot; docs/security.md says how to find one.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python -m venv --without-pip /venv
# pip installs into it, and stays out of it.
ENV PIP_PYTHON=/venv/bin/python PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# Before the source, so that a change to it does not install the dependencies again.
COPY examples/requirements.lock examples/dashboard.lock examples/
RUN pip install --require-hashes -r examples/requirements.lock -r examples/dashboard.lock

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes hatchling packaging pathspec pluggy tomlkit trove-classifiers

FROM ${PYTHON_IMAGE}
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OXHERD_EMBEDDED=never
COPY --from=build /venv /venv
COPY examples ./examples
USER 10001:10001
EXPOSE 8000 8765
CMD ["oxherd", "worker", "examples.github_webhooks:herd", "--log-format", "json"]
