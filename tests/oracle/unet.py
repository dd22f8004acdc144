"""The Models Genesis 3D U-Net in PyTorch, written from METHOD's description: our oracle, never a dependency."""
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, act):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.bn1 = nn.BatchNorm3d(outputs)
        self.activation = {"relu": lambda: nn.ReLU(), "elu": lambda: nn.ELU(), "prelu": lambda: nn.PReLU(outputs)}[act]()

    def forward(self, x):
        return self.activation(self.bn1(self.conv1(x)))


class Down(nn.Module):
    def __init__(self, inputs, middle, outputs, act):
        super().__init__()
        self.ops = nn.Sequential(Block(inputs, middle, act), Block(middle, outputs, act))

    def forward(self, x):
        return self.ops(x)


class Up(nn.Module):
    def __init__(self, deep, skip, act):
        super().__init__()
        self.up_conv = nn.ConvTranspose3d(deep, deep, 2, stride=2)
        self.ops = nn.Sequential(Block(deep + skip, skip, act), Block(skip, skip, act))

    def forward(self, x, skip):
        return self.ops(torch.cat([self.up_conv(x), skip], 1))


class Out(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.final_conv = nn.Conv3d(inputs, classes, 1)

    def forward(self, x):
        return self.final_conv(x)


class UNet3D(nn.Module):
    """Returns logits; the restored cube is their sigmoid."""

    def __init__(self, width=32, act="relu", channels=1, classes=1):
        super().__init__()
        w = width
        self.down_tr64 = Down(channels, w, 2 * w, act)
        self.down_tr128 = Down(2 * w, 2 * w, 4 * w, act)
        self.down_tr256 = Down(4 * w, 4 * w, 8 * w, act)
        self.down_tr512 = Down(8 * w, 8 * w, 16 * w, act)
        self.up_tr256 = Up(16 * w, 8 * w, act)
        self.up_tr128 = Up(8 * w, 4 * w, act)
        self.up_tr64 = Up(4 * w, 2 * w, act)
        self.out_tr = Out(2 * w, classes)
        self.pool = nn.MaxPool3d(2)

    def forward(self, x):
        a = self.down_tr64(x)
        b = self.down_tr128(self.pool(a))
        c = self.down_tr256(self.pool(b))
        d = self.down_tr512(self.pool(c))
        return self.out_tr(self.up_tr64(self.up_tr128(self.up_tr256(d, c), b), a))


class Classifier3D(nn.Module):
    """The encoder, global average pooling and two fully connected layers; returns logits."""

    def __init__(self, width=32, act="relu", channels=1, classes=1):
        super().__init__()
        w = width
        self.down_tr64 = Down(channels, w, 2 * w, act)
        self.down_tr128 = Down(2 * w, 2 * w, 4 * w, act)
        self.down_tr256 = Down(4 * w, 4 * w, 8 * w, act)
        self.down_tr512 = Down(8 * w, 8 * w, 16 * w, act)
        self.dense_1 = nn.Linear(16 * w, 32 * w)
        self.dense_2 = nn.Linear(32 * w, classes)
        self.pool = nn.MaxPool3d(2)

    def forward(self, x):
        x = self.down_tr512(self.pool(self.down_tr256(self.pool(self.down_tr128(self.pool(self.down_tr64(x)))))))
        return self.dense_2(torch.relu(self.dense_1(x.mean((2, 3, 4)))))
