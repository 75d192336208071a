//! Where tensors live.

use tch::{Cuda, Device};

use crate::exit::Fault;

/// The device that `auto`, `cpu`, `cuda` or `cuda:N` names on this machine.
///
/// # Errors
/// [`Fault::BadData`] for another name; [`Fault::InputMissing`] when a GPU is asked for that libtorch does
/// not see.
pub fn parse(name: &str) -> Result<Device, Fault> {
    let gpus = || if Cuda::is_available() { Cuda::device_count() } else { 0 };
    let number = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" if gpus() > 0 => return Ok(Device::Cuda(0)),
        "auto" => return Ok(Device::Cpu),
        "cuda" => Some(0),
        other => other.strip_prefix("cuda:").and_then(|digits| digits.parse::<usize>().ok()),
    };
    let Some(number) = number else {
        return Err(Fault::BadData(format!("`{name}` is not a device: expected auto, cpu or cuda:N")));
    };
    let found = gpus();
    if (number as i64) < found {
        return Ok(Device::Cuda(number));
    }
    let why = if found == 0 {
        "libtorch sees no GPU: either there is none or no driver, or this libtorch is its CPU half \
         (`make libtorch` fetches only that; for a GPU point LIBTORCH at a CUDA build, see the README)"
            .to_owned()
    } else {
        format!("libtorch sees {found} GPU(s), numbered from 0")
    };
    Err(Fault::InputMissing(format!("{name} is not available: {why}. `--device cpu` works everywhere")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_or_refused_with_a_reason() {
        assert_eq!(parse("cpu").unwrap(), Device::Cpu);
        assert!(parse("auto").is_ok());
        assert!(matches!(parse("gpu"), Err(Fault::BadData(_))));
        assert!(matches!(parse("cuda:-1"), Err(Fault::BadData(_))));
        let error = parse("cuda:99").unwrap_err().to_string();
        assert!(error.contains("--device cpu"), "{error}");
    }
}
