"""Checks the tables' files against a second Arrow implementation, pyarrow (run with pyarrow 26.0.1).

    python3 tools/parity/read_tables.py make packages/core/src/fixtures/pyarrow-results.arrow
        writes the fixture that packages/core/src/Table.test.ts reads: a results table made by pyarrow, two record batches,
        one column of plain strings where ours would be a dictionary
    python3 tools/parity/read_tables.py read FILE...
        opens files of ours, validates every buffer, prints name, version, rows, columns and types, and fails when a table is not
        one of docs/tables.md or a column has another type than declared there
"""
import sys
import pyarrow as pa

LABEL = pa.dictionary(pa.int32(), pa.string())
TABLES = {
    "trace": {"run": LABEL, "domain": LABEL, "document": pa.uint32(), "position": pa.uint32(), "token": pa.uint32(), "layer": pa.uint16(),
              "rank": pa.uint8(), "expert": pa.uint16(), "weight": pa.float32(), "logit": pa.float32(), "dropped": pa.bool_()},
    "activations": {"domain": LABEL, "document": pa.uint32(), "position": pa.uint32(), "layer": pa.uint16(), "point": LABEL, "hidden": None},
    "results": {"model": LABEL, "task": LABEL, "metric": LABEL, "value": pa.float64(), "unit": LABEL, "count": pa.uint32(),
                "standardError": pa.float64(), "seed": pa.uint32(), "split": LABEL},
    "bench": {"name": LABEL, "device": LABEL, "adapter": LABEL, "shape": LABEL, "milliseconds": pa.float64(), "lowerQuartile": pa.float64(),
              "upperQuartile": pa.float64(), "runs": pa.uint32(), "floor": pa.float64(), "against": LABEL, "ratio": pa.float64()},
    "trainLog": {"step": pa.uint32(), "tokens": pa.float64(), "loss": pa.float32(), "gradientNorm": pa.float32(),
                 "learningRate": pa.float32(), "tokensPerSecond": pa.float32()},
}


def make(path):
    types = {name: type for name, type in TABLES["results"].items()}
    types["unit"] = pa.string()
    schema = pa.schema([pa.field(name, type, nullable=name == "standardError") for name, type in types.items()],
                       metadata={"switchyard.table": "results", "switchyard.version": "1"})
    rows = [
        dict(model="seed", task="bitsPerByte", metric="bitsPerByte", value=2.5, unit="bits/byte", count=12, standardError=0.125, seed=0, split="report"),
        dict(model="mixture", task="bitsPerByte", metric="bitsPerByte", value=2.25, unit="bits/byte", count=12, standardError=None, seed=0, split="report"),
        dict(model="Größe", task="bitsPerByte", metric="bitsPerByte", value=-0.5, unit="bits/byte", count=4294967295, standardError=0.0, seed=1, split="choose"),
    ]
    # one dictionary for the file (the file format allows no replacement), written as a delta in the second batch
    table = pa.concat_tables([pa.Table.from_pylist(rows[:2], schema=schema), pa.Table.from_pylist(rows[2:], schema=schema)]).unify_dictionaries()
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)


def read(path):
    table = pa.ipc.open_file(path).read_all()
    table.validate(full=True)
    meta = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    declared = TABLES[meta["switchyard.table"]]
    for name, type in declared.items():
        found = table.schema.field(name).type
        assert pa.types.is_fixed_size_list(found) and found.value_type == pa.float32() if type is None else found == type, (name, found, type)
    extra = [name for name in table.column_names if name not in declared]
    assert all(meta["switchyard.table"] == "trainLog" and name.startswith("balance.") for name in extra), extra
    print(path, meta["switchyard.table"], "version", meta["switchyard.version"], table.num_rows, "rows,", len(table.column_names), "columns: ok")
    return table


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        for file in sys.argv[2:]:
            for row in read(file).slice(0, 2).to_pylist():
                print("  ", row)
