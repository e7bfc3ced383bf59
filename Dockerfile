# The server in a container:
#
#     docker build -t terrascope .
#     docker run -p 127.0.0.1:8000:8000 -e TERRASCOPE_TOKEN=... -v /my/scenes:/scenes:ro --stop-timeout 45 terrascope
#
# With a GPU: docker run --gpus all ... . Models of the hub stay in a volume: -v terrascope:/home/terrascope/.cache.
# What is said after the image are options of the command: docker run ... terrascope --model NAME --max-queue 64.
#
# torch as the default index has it brings CUDA with it; an index of CPU builds makes a smaller image:
#
#     docker build --build-arg TORCH_INDEX=URL -t terrascope .
FROM python:3.12-slim AS build
ARG TORCH_INDEX=""
RUN python -m venv /opt/terrascope
ENV PATH=/opt/terrascope/bin:$PATH
# First and alone: it is large, and changes seldom.
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.11"
COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN pip install --no-cache-dir "/src[serve]"

FROM python:3.12-slim
# The wheels of rasterio expect it of the system.
RUN apt-get update && apt-get install --yes --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 terrascope && mkdir /scenes && \
    install --directory --owner terrascope /home/terrascope/.cache
COPY --from=build /opt/terrascope /opt/terrascope
ENV PATH=/opt/terrascope/bin:$PATH PYTHONUNBUFFERED=1 NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER terrascope
# An image in which a library is missing is not built.
RUN python -c "import terrascope.model, terrascope.serve.app" && terrascope serve --help > /dev/null
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# Python hears this one also while it loads a model; questions under way then have 30 seconds to end.
STOPSIGNAL SIGINT
# Only the container's own network sees this; without a token it does not start.
ENTRYPOINT ["terrascope", "serve", "--host", "0.0.0.0", "--root", "/scenes"]
