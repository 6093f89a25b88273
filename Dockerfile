# The page and the Label Studio backend on a CPU, with the models that the package brings.
#
#   docker build -t mmovsam .
#   docker run --rm -p 127.0.0.1:7860:7860 mmovsam          # the page, on this machine only
#   docker run --rm -p 127.0.0.1:9090:9090 -e LABEL_STUDIO_API_KEY mmovsam \
#       backend --host 0.0.0.0 --label-studio http://ADDRESS:8080
#
# Downloads and vocabularies are kept in /cache: add `-v mmovsam-cache:/cache` to keep them longer.
#
# This file was written without a container tool at hand: nobody has built it yet.

FROM python:3.11-slim AS base
# what opencv-python loads
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/mmovsam/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM base AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++
RUN python -m venv /opt/mmovsam
WORKDIR /src
COPY requirements requirements
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --extra-index-url ${TORCH_INDEX} -r requirements/torch.txt
RUN pip install -c requirements/torch.txt -r requirements/build.txt -r requirements/runtime.txt
COPY tools tools
RUN python tools/build_mmcv.py --no-deps --operators cpu
COPY . .
# the constraints pin what serves the page and the backend, too
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip install -c requirements/torch.txt -c requirements/runtime.txt -c requirements/test.txt \
       "mmovsam[openmmlab,web,label-studio] @ file://$(ls /wheels/mmovsam-*.whl)"

FROM base
COPY --from=build /opt/mmovsam /opt/mmovsam
RUN useradd --create-home mmovsam && mkdir /cache && chown mmovsam /cache
USER mmovsam
WORKDIR /home/mmovsam
ENV MMOVSAM_CACHE=/cache/mmovsam HF_HOME=/cache/huggingface
VOLUME /cache
EXPOSE 7860 9090
ENTRYPOINT ["mmovsam"]
# other machines reach a published port, so publish it on 127.0.0.1 or behind a proxy of yours
CMD ["page", "--host", "0.0.0.0", "--port", "7860"]
