"""Checks that the wheel works in an environment with only its required dependencies."""

import importlib.util
import sys
import tempfile
from importlib import metadata, resources

from taskq_sls import Queue, Retry, TaskQ

app = TaskQ("shop", queues=[Queue("default"), Queue("ledger.fifo")])


@app.task(name="shop:resize", retry=Retry(max_attempts=5), timeout=30)
def resize(path: str, width: int = 100) -> dict[str, list[int]]:
    return {path: [width]}


@app.task(name="shop:fetch")
async def fetch(url: str) -> bool:
    return bool(url)


assert resize("a.png") == {"a.png": [100]}
assert resize.plan.name == "shop:resize"
assert app.registry.names == ("shop:resize", "shop:fetch")

unwanted = {"pydantic", "aiobotocore", "moto", "pytest", "botocore", "boto3", "taskq_sls.cli", "taskq_sls.testing"}
assert not unwanted & set(sys.modules), sorted(unwanted & set(sys.modules))

for extra in ("aiobotocore", "moto", "flask", "pytest", "watchfiles", "fastapi", "mangum", "uvicorn", "rich"):
    assert importlib.util.find_spec(extra) is None, f"{extra} came with the wheel: it belongs to an extra"

assert resources.files("taskq_sls").joinpath("py.typed").is_file()
scripts = {script.name: script for script in metadata.entry_points(group="console_scripts")}
taskq = scripts["taskq"].load()
assert callable(taskq), "the command needs more than the core"
with tempfile.TemporaryDirectory() as folder:
    assert taskq(["init", f"{folder}/shop"]) == 0, "the files of a new project are not in the wheel"
print(f"taskq-sls {metadata.version('taskq-sls')} works from its wheel on Python {sys.version.split()[0]}")
