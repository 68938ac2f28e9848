"""Writes table.parquet and signals.parquet, which the tests of the feature `parquet` read (written with pyarrow 26.0.1)."""

import pyarrow as pa
import pyarrow.parquet as pq

rows = range(30)
table = pa.table({
    "day": pa.array([86400 * i for i in rows], pa.timestamp("s")),
    "time": pa.array([1.7e9 + 0.25 * i for i in rows], pa.float64()),
    "count": pa.array([i * i for i in rows], pa.int32()),
    "large": pa.array([4_000_000_000 + i for i in rows], pa.uint32()),
    "half": pa.array([0.5 * i if i != 7 else None for i in rows], pa.float32()),
    "flag": pa.array([i % 3 == 0 for i in rows], pa.bool_()),
    "species": pa.array([["ant", "bee", "cat"][i % 3] for i in rows]).dictionary_encode(),
    "code": pa.array([i % 2 for i in rows], pa.int8()),
})
pq.write_table(table, "table.parquet", row_group_size=12, compression="zstd")
signals = pa.table({
    "id": pa.array(list(rows), pa.int64()),
    "wave": pa.array([[i + 0.125 * k for k in range(8)] for i in rows], pa.list_(pa.float32())),
    "class": pa.array([i % 3 for i in rows], pa.int64()),
})
pq.write_table(signals, "signals.parquet", row_group_size=8, compression="snappy")
