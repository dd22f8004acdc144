//! The PTX, embedded.

/// The PTX of a module, for compute capability 8.0 and above.
pub fn ptx(module: &str) -> Option<&'static str> {
    PTX.iter().find(|(name, _)| *name == module).map(|(_, text)| *text)
}

macro_rules! embed {
    ($($name:literal),* $(,)?) => {
        const PTX: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../ptx/", $name, ".sm_80.ptx")))),*];
    };
}

embed!(
    "activation",
    "batch_norm",
    "channel_sums",
    "conv3d",
    "conv3d_direct",
    "conv3d_weight_gradient",
    "conv3d_weights",
    "conv_transpose3d",
    "elementwise",
    "loss",
    "max_pool3d",
    "optimizer",
    "peak",
    "softmax_loss",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::{KERNELS, MODULES};

    #[test]
    fn every_kernel_is_in_its_module() {
        assert!(PTX.iter().map(|(name, _)| *name).eq(MODULES.iter().copied()));
        for kernel in KERNELS {
            let entry = format!(".entry {}(", kernel.name);
            assert!(ptx(kernel.module).is_some_and(|text| text.contains(&entry)), "{}", kernel.name);
        }
    }

    #[test]
    fn any_driver_from_525_and_any_card_from_8_0_takes_it() {
        for (name, text) in PTX {
            assert!(text.contains(".version 8.0\n.target sm_80\n"), "{name}");
        }
    }
}
