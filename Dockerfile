# docker build --tag kfine .        kfine on a processor; for a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple
FROM python:3.13-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . /opt/kfine
RUN pip install --no-cache-dir --constraint /opt/kfine/constraints.txt --extra-index-url "$TORCH_INDEX" torch \
 && pip install --no-cache-dir --constraint /opt/kfine/constraints.txt '/opt/kfine[dicom,codecs,raw,cluster]' \
 && rm -rf /opt/kfine
ENTRYPOINT ["kfine"]
