# One image for every role, `headrace run ROLE`, and for the HTTP door, `headrace gateway`. Build from the repository's root.
FROM python:3.11-slim

WORKDIR /app
RUN useradd --create-home --uid 1000 headrace && mkdir /artefacts && chown headrace /artefacts
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY headrace headrace
COPY definitions definitions
COPY streams streams
COPY online_models online_models
COPY agents agents
COPY batch batch
COPY marketplace marketplace
COPY examples examples
RUN pip install --no-cache-dir --upgrade --constraint constraints.txt pip \
    && pip install --no-cache-dir --constraint constraints.txt --editable ".[gateway]"

USER headrace
ENTRYPOINT ["headrace"]
CMD ["--help"]
