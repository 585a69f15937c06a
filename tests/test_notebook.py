import os
import shutil

import pytest

SHRUNKEN = ["--epochs", "2", "--source.train-per-class", "8", "--source.test-per-class", "4"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_quickstart_notebook_runs_from_top_to_bottom(root, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(root / "notebooks" / "quickstart.ipynb", as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    output_dir = tmp_path / "run"
    parameters.source = f"output_dir = {str(output_dir)!r}\noverrides = {SHRUNKEN!r}"
    shutil.copytree(root / "configs", tmp_path / "configs")
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    executed = client.execute()
    assert (output_dir / "run.json").is_file()
    assert (output_dir / "predictions" / "test.npz").is_file()
    pictures = [
        output
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1
