# Runs the two commands of the README:
#
#   docker build -t grasp-and-lift .
#   docker run --rm -v "$PWD/data:/app/data" -v "$PWD/outputs:/app/outputs" grasp-and-lift
#   docker run --rm grasp-and-lift make test
#
# The first run command trains: on Kaggle's files if they are in data/raw, else on simulated recordings.
FROM python:3.13-slim-bookworm

# make runs the commands, some tests call git, and PyTorch needs libgomp1. The image holds no
# repository (.dockerignore), so its runs record no version of the code.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make git libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app

# What is installed changes rarely, so it is a layer of its own. Make's own rules do the work.
COPY pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY pipeline/__init__.py pipeline/__init__.py
RUN make .venv/.installed .venv/.installed-dev

COPY . .
# The copies have new times; what is installed is still what these two files ask for.
RUN touch .venv/.installed .venv/.installed-dev

CMD ["make", "train"]
