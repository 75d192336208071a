//! What matter takes from a beam: bone and soft tissue, in natural-logarithm units of attenuation.

use super::pose::{Point, dot, perpendicular};
use super::random::{TILE_WAVELENGTH, Texture};
use super::shape::{Bone, Chord};

/// Attenuation per mm above that of the soft tissue which the bone takes the place of.
const CORTEX: f32 = 0.085;
const SPONGY: f32 = 0.026;
/// Attenuation per mm of muscle and of fat.
const MUSCLE: f32 = 0.0145;
const FAT: f32 = 0.0095;

/// What a beam loses on its way through a bone.
pub(super) fn mineral(bone: &Bone, chord: &Chord, pixel_mm: f32) -> f32 {
    let mut spongy = SPONGY * chord.inner;
    if chord.inner > 0.0 {
        // Trabeculae are about a millimetre apart; finer than the pixels they would alias.
        let frequency = TILE_WAVELENGTH / (2.8 * pixel_mm).max(1.5);
        let [u, v] = chord.place;
        let along = Texture::shared().at(bone.grain[0] + 0.45 * frequency * u, bone.grain[1] + frequency * v);
        let coarse =
            Texture::shared().at(bone.grain[1] + 0.2 * frequency * u, bone.grain[0] + 0.25 * frequency * v);
        spongy *= 1.0 + 0.2 * along + 0.12 * coarse;
    }
    bone.density * (CORTEX * (chord.outer - chord.inner) + spongy)
}

/// What a beam loses in soft tissue of which it crosses `all` mm, `muscle` of them inside the fat. `limb` is
/// the direction that the muscles run in: their strands are drawn out along it.
pub(super) fn soft(all: f32, muscle: f32, p: Point, limb: Point) -> f32 {
    let (along, across) = (dot(p, limb), dot(p, perpendicular(limb)));
    let strands = Texture::shared().at(0.55 * across + 31.0, 0.05 * along + 77.0);
    let lobes = Texture::shared().at(0.16 * across + 140.0, 0.07 * along + 9.0);
    FAT * all + (MUSCLE - FAT) * muscle * (1.0 + 0.1 * strands + 0.2 * lobes)
}
