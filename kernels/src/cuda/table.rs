//! Every kernel with its launch bounds: data alone, which `cargo xtask` reads too.

/// One `extern "C" __global__` function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The `.cu` file it is in, without the extension.
    pub module: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Threads of a block, at most.
    pub threads: u32,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
}

impl Kernel {
    /// True for those made for compute capability 9.0 alone, which no other card loads.
    pub fn is_hopper(&self) -> bool {
        is_hopper(self.module)
    }
}

/// True for the `.cu` files that are compiled for compute capability 9.0 alone.
pub fn is_hopper(module: &str) -> bool {
    module.contains("_hopper")
}

const fn kernel(module: &'static str, name: &'static str, threads: u32, shared_bytes: u32) -> Kernel {
    Kernel { module, name, threads, shared_bytes }
}

/// Shared memory of an implicit matrix product: its stages, or its tile of f32 where that is larger.
const fn product_bytes(rows: u32, columns: u32, stages: u32) -> u32 {
    let (stages, tile) = (stages * (rows + columns) * 64, rows * (columns + 8) * 4);
    if stages > tile { stages } else { tile }
}

/// Shared memory of a weight gradient: its stages of 64 bytes a row and column.
const fn weight_bytes(outputs: u32, channels: u32, stages: u32) -> u32 {
    stages * (outputs + channels) * 64
}

/// Shared memory of a pipeline of warpgroups: its stages of 128 bytes a row and column, and room to begin at whole
/// 1024 bytes.
const fn pipeline_bytes(lines: u32, stages: u32) -> u32 {
    stages * lines * 128 + 1024
}

/// Names of the `.cu` files, in order.
pub const MODULES: &[&str] = &[
    "activation",
    "batch_norm",
    "channel_sums",
    "conv3d",
    "conv3d_direct",
    "conv3d_hopper",
    "conv3d_hopper_weight_gradient",
    "conv3d_weight_gradient",
    "conv3d_weights",
    "conv_transpose3d",
    "conv_transpose3d_hopper",
    "elementwise",
    "loss",
    "max_pool3d",
    "optimizer",
    "peak",
    "softmax_loss",
];

/// All kernels, by module and name.
#[rustfmt::skip]
pub const KERNELS: &[Kernel] = &[
    kernel("activation", "activation_bf16", 256, 0),
    kernel("activation", "activation_bf16_odd", 256, 0),
    kernel("activation", "activation_f32", 256, 0),
    kernel("activation", "activation_f32_odd", 256, 0),
    kernel("activation", "activation_gradient_bf16", 256, 0),
    kernel("activation", "activation_gradient_bf16_odd", 256, 0),
    kernel("activation", "activation_gradient_f32", 256, 0),
    kernel("activation", "activation_gradient_f32_odd", 256, 0),
    kernel("activation", "activation_slope_sums_bf16", 256, 0),
    kernel("activation", "activation_slope_sums_bf16_odd", 256, 0),
    kernel("activation", "activation_slope_sums_f32", 256, 0),
    kernel("activation", "activation_slope_sums_f32_odd", 256, 0),
    kernel("batch_norm", "batch_norm_apply_bf16", 256, 0),
    kernel("batch_norm", "batch_norm_apply_bf16_odd", 256, 0),
    kernel("batch_norm", "batch_norm_apply_f32", 256, 0),
    kernel("batch_norm", "batch_norm_apply_f32_odd", 256, 0),
    kernel("batch_norm", "batch_norm_finish", 512, 0),
    kernel("batch_norm", "batch_norm_gradient_sums_bf16", 256, 0),
    kernel("batch_norm", "batch_norm_gradient_sums_bf16_odd", 256, 0),
    kernel("batch_norm", "batch_norm_gradient_sums_f32", 256, 0),
    kernel("batch_norm", "batch_norm_gradient_sums_f32_odd", 256, 0),
    kernel("batch_norm", "batch_norm_input_gradient_bf16", 256, 0),
    kernel("batch_norm", "batch_norm_input_gradient_bf16_odd", 256, 0),
    kernel("batch_norm", "batch_norm_input_gradient_f32", 256, 0),
    kernel("batch_norm", "batch_norm_input_gradient_f32_odd", 256, 0),
    kernel("batch_norm", "batch_norm_moments_bf16", 256, 0),
    kernel("batch_norm", "batch_norm_moments_bf16_odd", 256, 0),
    kernel("batch_norm", "batch_norm_moments_f32", 256, 0),
    kernel("batch_norm", "batch_norm_moments_f32_odd", 256, 0),
    kernel("channel_sums", "channel_sums_bf16", 256, 0),
    kernel("channel_sums", "channel_sums_bf16_odd", 256, 0),
    kernel("channel_sums", "channel_sums_f32", 256, 0),
    kernel("channel_sums", "channel_sums_f32_odd", 256, 0),
    kernel("channel_sums", "channel_sums_finish_bf16", 512, 0),
    kernel("channel_sums", "channel_sums_finish_f32", 512, 0),
    kernel("conv3d", "conv3d_bf16_128x128", 256, product_bytes(128, 128, 4)),
    kernel("conv3d", "conv3d_bf16_128x32", 128, product_bytes(128, 32, 4)),
    kernel("conv3d", "conv3d_bf16_128x64", 128, product_bytes(128, 64, 4)),
    kernel("conv3d", "conv3d_f16_128x128", 256, product_bytes(128, 128, 4)),
    kernel("conv3d", "conv3d_f16_128x32", 128, product_bytes(128, 32, 4)),
    kernel("conv3d", "conv3d_f16_128x64", 128, product_bytes(128, 64, 4)),
    kernel("conv3d", "conv3d_tf32_128x128", 256, product_bytes(128, 128, 4)),
    kernel("conv3d", "conv3d_tf32_128x32", 128, product_bytes(128, 32, 4)),
    kernel("conv3d", "conv3d_tf32_128x64", 128, product_bytes(128, 64, 4)),
    kernel("conv3d_direct", "conv3d_direct_bf16_128x32", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_bf16_128x64", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_bf16_256x8", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_elements_bf16_128x32", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_elements_f32_128x32", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_f32_128x32", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_f32_128x64", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_f32_256x8", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_transposed_bf16_128x32", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_transposed_bf16_128x64", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_transposed_bf16_256x8", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_transposed_elements_bf16_128x32", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_transposed_elements_f32_128x32", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_transposed_f32_128x32", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_transposed_f32_128x64", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_transposed_f32_256x8", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_weight_bf16", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_weight_elements_bf16", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_weight_elements_f32", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_weight_f32", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_weight_windows_bf16", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_weight_windows_f32", 256, 0),
    kernel("conv3d_direct", "conv3d_direct_windows_bf16_128x32", 128, 0),
    kernel("conv3d_direct", "conv3d_direct_windows_f32_128x32", 128, 0),
    kernel("conv3d_hopper", "conv3d_hopper_bf16_128x128", 288, pipeline_bytes(256, 3)),
    kernel("conv3d_hopper", "conv3d_hopper_bf16_128x64", 288, pipeline_bytes(192, 4)),
    kernel("conv3d_hopper", "conv3d_hopper_f16_128x128", 288, pipeline_bytes(256, 3)),
    kernel("conv3d_hopper", "conv3d_hopper_f16_128x64", 288, pipeline_bytes(192, 4)),
    kernel("conv3d_hopper_weight_gradient", "conv3d_hopper_weight_bf16_128x128", 288, pipeline_bytes(256, 3)),
    kernel("conv3d_hopper_weight_gradient", "conv3d_hopper_weight_bf16_64x64", 160, pipeline_bytes(128, 4)),
    kernel("conv3d_hopper_weight_gradient", "conv3d_hopper_weight_f16_128x128", 288, pipeline_bytes(256, 3)),
    kernel("conv3d_hopper_weight_gradient", "conv3d_hopper_weight_f16_64x64", 160, pipeline_bytes(128, 4)),
    kernel("conv3d_weight_gradient", "conv3d_weight_bf16_128x128", 256, weight_bytes(128, 128, 3)),
    kernel("conv3d_weight_gradient", "conv3d_weight_bf16_64x64", 128, weight_bytes(64, 64, 4)),
    kernel("conv3d_weight_gradient", "conv3d_weight_f16_128x128", 256, weight_bytes(128, 128, 3)),
    kernel("conv3d_weight_gradient", "conv3d_weight_f16_64x64", 128, weight_bytes(64, 64, 4)),
    kernel("conv3d_weight_gradient", "conv3d_weight_tf32_128x128", 256, weight_bytes(128, 128, 3)),
    kernel("conv3d_weight_gradient", "conv3d_weight_tf32_64x64", 128, weight_bytes(64, 64, 4)),
    kernel("conv3d_weights", "conv3d_pack_bf16", 256, 0),
    kernel("conv3d_weights", "conv3d_pack_f16", 256, 0),
    kernel("conv3d_weights", "conv3d_pack_f32", 256, 0),
    kernel("conv3d_weights", "conv3d_reduce_bf16", 256, 0),
    kernel("conv3d_weights", "conv3d_reduce_f16", 256, 0),
    kernel("conv3d_weights", "conv3d_reduce_tf32", 256, 0),
    kernel("conv3d_weights", "conv3d_weight_reduce", 256, 0),
    kernel("conv_transpose3d", "conv_transpose3d_bf16_128x128", 256, product_bytes(128, 128, 4)),
    kernel("conv_transpose3d", "conv_transpose3d_bf16_128x64", 128, product_bytes(128, 64, 4)),
    kernel("conv_transpose3d", "conv_transpose3d_f16_128x128", 256, product_bytes(128, 128, 4)),
    kernel("conv_transpose3d", "conv_transpose3d_f16_128x64", 128, product_bytes(128, 64, 4)),
    kernel("conv_transpose3d", "conv_transpose3d_tf32_128x128", 256, product_bytes(128, 128, 4)),
    kernel("conv_transpose3d", "conv_transpose3d_tf32_128x64", 128, product_bytes(128, 64, 4)),
    kernel("conv_transpose3d_hopper", "conv_transpose3d_hopper_bf16_128x128", 288, pipeline_bytes(256, 3)),
    kernel("conv_transpose3d_hopper", "conv_transpose3d_hopper_f16_128x128", 288, pipeline_bytes(256, 3)),
    kernel("elementwise", "add_bf16", 256, 0),
    kernel("elementwise", "add_f32", 256, 0),
    kernel("elementwise", "broadcast_bf16", 256, 0),
    kernel("elementwise", "broadcast_f32", 256, 0),
    kernel("elementwise", "cast_bf16_to_f32", 256, 0),
    kernel("elementwise", "cast_f16_to_f32", 256, 0),
    kernel("elementwise", "cast_f32_to_bf16", 256, 0),
    kernel("elementwise", "cast_f32_to_f16", 256, 0),
    kernel("elementwise", "copy_slices_16", 256, 0),
    kernel("elementwise", "copy_slices_2", 256, 0),
    kernel("elementwise", "copy_slices_4", 256, 0),
    kernel("elementwise", "fill_bf16", 256, 0),
    kernel("elementwise", "fill_f32", 256, 0),
    kernel("elementwise", "scale_f32", 256, 0),
    kernel("loss", "loss_finish", 256, 0),
    kernel("loss", "loss_gradient_bf16", 256, 0),
    kernel("loss", "loss_gradient_f32", 256, 0),
    kernel("loss", "loss_sums_bf16", 256, 0),
    kernel("loss", "loss_sums_f32", 256, 0),
    kernel("max_pool3d", "max_pool3d_bf16", 256, 0),
    kernel("max_pool3d", "max_pool3d_bf16_large", 256, 0),
    kernel("max_pool3d", "max_pool3d_bf16_odd", 256, 0),
    kernel("max_pool3d", "max_pool3d_f32", 256, 0),
    kernel("max_pool3d", "max_pool3d_f32_large", 256, 0),
    kernel("max_pool3d", "max_pool3d_f32_odd", 256, 0),
    kernel("max_pool3d", "max_pool3d_gradient_bf16", 256, 0),
    kernel("max_pool3d", "max_pool3d_gradient_bf16_large", 256, 0),
    kernel("max_pool3d", "max_pool3d_gradient_bf16_odd", 256, 0),
    kernel("max_pool3d", "max_pool3d_gradient_f32", 256, 0),
    kernel("max_pool3d", "max_pool3d_gradient_f32_large", 256, 0),
    kernel("max_pool3d", "max_pool3d_gradient_f32_odd", 256, 0),
    kernel("optimizer", "adam", 256, 0),
    kernel("optimizer", "gradient_norm_finish", 256, 0),
    kernel("optimizer", "gradient_norm_sums", 256, 0),
    kernel("optimizer", "sgd", 256, 0),
    kernel("optimizer", "sgd_momentum", 256, 0),
    kernel("peak", "peak_bf16", 256, 0),
    kernel("peak", "peak_f32", 256, 0),
    kernel("peak", "peak_tf32", 256, 0),
    kernel("softmax_loss", "softmax_loss_finish", 256, 0),
    kernel("softmax_loss", "softmax_loss_gradient_bf16", 256, 0),
    kernel("softmax_loss", "softmax_loss_gradient_f32", 256, 0),
    kernel("softmax_loss", "softmax_loss_sums_bf16", 256, 0),
    kernel("softmax_loss", "softmax_loss_sums_f32", 256, 0),
];
