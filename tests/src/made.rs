//! Images made for a test: no radiographs, but different enough from each other that a mix-up shows.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A study of made images in a folder `<root>/<TYPE>/<name>`.
#[derive(Clone, Debug)]
pub struct MadeStudy {
    /// Its type.
    pub study_type: &'static str,
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Its images, by name.
    pub files: Vec<PathBuf>,
}

/// Writes a study of `views` images; `seed` makes them its own.
///
/// # Errors
/// When a file cannot be written.
pub fn study(
    root: &Path,
    study_type: &'static str,
    name: &str,
    views: u32,
    seed: u32,
) -> anyhow::Result<MadeStudy> {
    let dir = root.join(study_type).join(name);
    fs::create_dir_all(&dir)?;
    let mut files = Vec::new();
    for view in 0..views {
        let path = dir.join(format!("view{view}.pgm"));
        fs::write(&path, pgm(300, 240, seed * 100 + view))?;
        files.push(path);
    }
    Ok(MadeStudy { study_type, name: name.to_owned(), dir, files })
}

/// A PGM file: a bright bar with soft edges, its place and tilt from `seed`, on a dark ground with noise.
pub fn pgm(width: u32, height: u32, seed: u32) -> Vec<u8> {
    let mut random = Random::new(u64::from(seed));
    let (middle, tilt) = ((0.25 + 0.5 * random.share()) * f64::from(width), 0.5 * (random.share() - 0.5));
    let half = f64::from(width) * (0.16 + 0.1 * random.share());
    let mut bytes = format!("P5\n{width} {height}\n255\n").into_bytes();
    for y in 0..height {
        // Brighter towards the foot, as under a tube's heel effect: no two rows have the same brightest level.
        let heel = 100.0 + 100.0 * f64::from(y) / f64::from(height);
        for x in 0..width {
            let distance = (f64::from(x) - middle - tilt * (f64::from(y) - f64::from(height) / 2.0)).abs();
            let bar = heel * (1.0 - (distance / half).powi(2)).max(0.0).sqrt();
            bytes.push((20.0 + bar + 24.0 * random.share()) as u8);
        }
    }
    bytes
}

/// A PGM file with nothing on it but noise, which the gate refuses for good.
pub fn blank() -> Vec<u8> {
    square(|_| 7)
}

/// A PGM file of too little contrast, which the gate flags and the technician may overrule.
pub fn pale() -> Vec<u8> {
    square(|column| 110 + (100 - (column - 200).abs()).max(0) / 5)
}

/// A PGM file of 400 x 400 samples, each what its column says and a little noise.
fn square(level: impl Fn(i32) -> i32) -> Vec<u8> {
    let mut random = Random::new(1);
    let samples = (0..400 * 400).map(|at| (level(at % 400) + (random.share() * 4.0) as i32) as u8);
    b"P5\n400 400\n255\n".iter().copied().chain(samples).collect()
}

/// A small generator (Knuth's MMIX constants), so that a failing test can be run again with its seed.
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed ^ 0x9e37_79b9_7f4a_7c15);
        random.share();
        random
    }

    /// A number from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A PNG file, 8 bit grey, whose samples are all zero: small however many there are.
///
/// # Errors
/// When it cannot be compressed.
pub fn black_png(width: u32, height: u32) -> anyhow::Result<Vec<u8>> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(kind);
        bytes.extend(data);
        bytes.extend(crc.sum().to_be_bytes());
    };
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    chunk(b"IHDR", &header);
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    // A filter byte, then the samples.
    let row = vec![0; width as usize + 1];
    for _ in 0..height {
        packed.write_all(&row)?;
    }
    chunk(b"IDAT", &packed.finish()?);
    chunk(b"IEND", &[]);
    Ok(bytes)
}
