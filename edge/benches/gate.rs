//! How long decoding and the gate take beside inference of the same image, in one run and on one thread, as a table.
//!
//! usage: cargo bench --locked -p edge --bench gate
//!
//! The images are the demo bundle's first golden phantom, enlarged, with a detector's noise. Times are the shortest of
//! several, so that what else the machine does counts little.

use std::error::Error;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::time::Instant;

use contract::radiograph::{Limits, decode};
use edge::inference::{Bundle, Execution, Model};
use edge::quality::{Plate, QualityConfig, judge};
use image::imageops::{FilterType, resize};
use image::{DynamicImage, GrayImage, ImageFormat, Luma};

const RUNS: usize = 9;
const SIZES: [(&str, u32, u32); 3] = [("0.2", 400, 500), ("3", 1500, 2000), ("12", 3000, 4000)];

fn main() -> Result<(), Box<dyn Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/bundle");
    let bundle = Bundle::load(&dir)?;
    let golden = bundle.manifest.golden.first().ok_or("the demo bundle has no golden image")?;
    let golden = image::load_from_memory(&fs::read(dir.join(&golden.image))?)?.into_luma8();
    let model = Model::load(&bundle, Execution::default())?;
    let quality = QualityConfig::default();
    println!(
        "| megapixels, format | decoding, ms | gate, ms | inference, ms | gate / inference | both / inference |"
    );
    println!("|---|---|---|---|---|---|");
    for (megapixels, width, height) in SIZES {
        let picture = noisy(&resize(&golden, width, height, FilterType::Triangle));
        for (name, bytes) in encoded(&picture)? {
            let radiograph = decode(&bytes, &Limits::default())?.radiograph;
            let decoding = shortest(|| decode(&bytes, &Limits::default()).map(drop))?;
            let gate = shortest(|| {
                std::hint::black_box((judge(&radiograph, None, &quality), Plate::of(&radiograph)));
                Ok::<_, Box<dyn Error>>(())
            })?;
            let inference = shortest(|| model.score(&radiograph).map(drop))?;
            println!(
                "| {megapixels}, {name} | {decoding:.0} | {gate:.0} | {inference:.0} | {:.2} | {:.2} |",
                gate / inference,
                (decoding + gate) / inference
            );
        }
    }
    let dense = 1.0 / bundle.manifest.training.macs_share;
    println!("\nA dense DenseNet169 has {dense:.1} times the demo network's multiply-accumulates.");
    Ok(())
}

/// The shortest of several runs, in milliseconds.
fn shortest<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let started = Instant::now();
        run()?;
        best = best.min(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

/// A format's name and a file of it.
type Encoded = (&'static str, Vec<u8>);

/// As files of the formats that digitisers send most.
fn encoded(picture: &GrayImage) -> Result<Vec<Encoded>, Box<dyn Error>> {
    let deep = DynamicImage::from(picture.clone()).into_luma16();
    let mut files = Vec::new();
    for (name, picture, format) in [
        ("JPEG", DynamicImage::from(picture.clone()), ImageFormat::Jpeg),
        ("PNG of 16 bit", DynamicImage::from(deep), ImageFormat::Png),
    ] {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format)?;
        files.push((name, bytes.into_inner()));
    }
    Ok(files)
}

/// With noise of about a hundredth of white, without which files of the formats are smaller than real ones.
fn noisy(picture: &GrayImage) -> GrayImage {
    let mut state = 1u32;
    let mut noisy = picture.clone();
    for Luma([sample]) in noisy.pixels_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *sample = sample.saturating_add((state >> 29) as u8);
    }
    noisy
}
