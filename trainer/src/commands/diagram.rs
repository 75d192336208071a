//! `trainer diagram`: the network drawn.

use std::fs;
use std::path::{Path, PathBuf};

use maud::html;

use super::evaluate::bundle_fault;
use crate::diagram::{Network, svg};
use crate::exit::Fault;
use crate::export::bundle::Bundle;
use crate::export::recover::widths_of;
use crate::model::{SIDE_MIN_PX, Widths};
use crate::page;
use crate::run::Run;
use crate::run::files::{io_fault, write_atomic};

/// Arguments of `diagram`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["run", "bundle"])))]
pub struct Args {
    /// Run whose network is drawn; of a pruned run, also the network before
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Bundle whose network is drawn
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// File to write: an SVG picture, or an HTML page with it when it ends in .html
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Side of the square input that shapes and multiply-accumulates are given for; the network's own when not given
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
}

/// Draws and writes.
///
/// # Errors
/// When the run or bundle cannot be used or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let html = match args.out.extension().map(|end| end.to_string_lossy().to_ascii_lowercase()).as_deref() {
        Some("html" | "htm") => true,
        Some("svg") => false,
        _ => {
            let out = args.out.display();
            return Err(
                Fault::BadData(format!("--out {out}: expected a name that ends in .svg or .html")).into()
            );
        }
    };
    if let Some(px) = args.size.filter(|px| *px < SIDE_MIN_PX) {
        return Err(Fault::BadData(format!("--size {px} is below the network's {SIDE_MIN_PX} px")).into());
    }
    let (title, before, network, side_px) = match (&args.run, &args.bundle) {
        (Some(run), _) => of_run(run)?,
        (None, Some(bundle)) => of_bundle(bundle)?,
        (None, None) => anyhow::bail!("clap let a command line without --run and --bundle through"),
    };
    let side_px = args.size.unwrap_or(side_px);
    let drawing = svg(&title, before.as_ref(), &network, side_px);
    let text = if html { html_page(&title, &drawing) } else { drawing };
    if let Some(folder) = args.out.parent().filter(|folder| *folder != Path::new("")) {
        fs::create_dir_all(folder).map_err(io_fault(format!("making {}", folder.display())))?;
    }
    write_atomic(&args.out, text.as_bytes())?;
    let macs = |widths: &Widths| widths.macs(side_px) as f64 / 1e9;
    let was = before.map(|b| format!(" (before {:.3} G)", macs(&b.widths))).unwrap_or_default();
    println!(
        "wrote {}: {:.3} G multiply-accumulates at {side_px} px{was}, {:.2} M parameters",
        args.out.display(),
        macs(&network.widths),
        network.widths.parameters() as f64 / 1e6
    );
    Ok(())
}

/// Title, network before, network, input side.
type Subject = (String, Option<Network>, Network, u32);

fn of_run(dir: &Path) -> Result<Subject, Fault> {
    let run = Run::open(dir)?;
    let before = run.prune_record()?.and_then(|record| record.widths_before);
    let before = before.map(|widths| Network { name: "before pruning".to_owned(), widths });
    let name = if before.is_some() { "after pruning" } else { "as trained" };
    let network = Network { name: name.to_owned(), widths: run.widths.clone() };
    let folder = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
    Ok((format!("The network of the run {folder}"), before, network, run.config.size_px))
}

fn of_bundle(dir: &Path) -> Result<Subject, Fault> {
    let bundle = Bundle::load(dir).map_err(bundle_fault)?;
    let widths =
        widths_of(bundle.model()).map_err(|error| Fault::BadData(format!("{}: {error}", dir.display())))?;
    let manifest = &bundle.manifest;
    let network = Network { name: manifest.training.architecture.clone(), widths };
    let title = format!("The network of the bundle {}, version {}", manifest.name, manifest.version);
    Ok((title, None, network, manifest.input.width_px))
}

fn html_page(title: &str, drawing: &str) -> String {
    let lead = "Every layer's widths, the shapes between the parts, and what each part costs. Rest the pointer on a layer \
                for its numbers.";
    page::page(title, lead, &html! { (page::chart(drawing, "")) })
}
