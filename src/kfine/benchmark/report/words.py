"""What the report says in words: how to read each table and plot, and what was held fixed."""

from __future__ import annotations

from kfine.benchmark.statistics import LEVEL, RESAMPLES

NOWHERE = (
    "Nowhere: in no image metric and no distance of sharpness did a method do better on average than one that does "
    "more."
)
FEW = " With {patients} an interval says how much these differ, not what others will show."
DEFEATS = (
    "In {count} a simpler method is better on average than one that does more; in {sure} of them the interval leaves "
    "out 0."
)
DEFEATS_TABLE = (
    "By how much the best of the simpler methods, named below, is better than the one at the left: without training "
    "before one pass of a network before many samples. Bold: the interval of the difference within patients leaves "
    "out 0. One sample is not made to win image metrics, a mean not to be sharp; both are listed. "
    "Nearest neighbour does not compete in sharpness: the edges of its pixels would win."
)
GAINS = (
    "{title} inside the body: difference to the best method without training, within patients, mean and "
    f"{100 * LEVEL:.0f} % bootstrap interval. Right of the line is better. Hollow: one sample in the place of the "
    "mean. Of the methods without training, zero filling and bicubic are drawn."
)
WHO = (
    "The pictures show patient {subject}, slice {number}: of the patients the one in the middle by PSNR, of its slices "
    "the one in the middle; neither was chosen by eye."
)
SCORES = (
    "Means over {patients}; below them the 95 % bootstrap interval over patients. Image metrics inside the body. "
    "Sharpness: distance to the truth's own value. Bold: the best mean of a column. Gain: within patients. Groups: "
    "without training; one pass of a network; many samples, of which the mean and one are scored."
)
PICTURE = (
    "{title}: image, the outlined detail enlarged, absolute error; every voxel as the rectangle that it is. PSNR and "
    "SSIM of this slice inside the body. Below the truth, where a method has one: its standard deviation."
)
CORRELATION = (
    "Fourier ring correlation with the truth, mean over patients: 1 where the detail is the truth's, 0 where it has "
    "nothing to do with it. Vertical lines: the border of what was measured, in each direction. Dashed level: 0.5, "
    "where “resolved” in the tables is read off. Of the methods without training, zero filling and bicubic are drawn."
)
RING_ERROR = (
    "Error of each ring of k-space over the truth's own energy there. Dashed level: 1 is what leaving the ring empty "
    "costs; above it, what a method adds does more harm than good. Random detail as strong as the truth's lies at 1.41."
)
CALIBRATION = (
    "Voxels inside the body sorted by the standard deviation that a method gives them, against the error of its mean "
    "image: root mean squares of each bin, % of the data range. On the line the uncertainty is right; above it, too "
    "small. Spread / error: the ratio over all voxels."
)
POSTER = (
    "{title}. Means over patients, below them the distance to the reference's value. Sharpness at 8 bits as on the "
    "poster of Kouhana et al.: closest to the reference is best, higher is not. Low resolution: nearest neighbour at "
    "the reference's matrix. PSNR, MS-SSIM and NRMSE inside the body."
)
FOOT = (
    "Made by kfine benchmark; every figure stands in results.csv and results.json beside this page. Research software, "
    "not a medical device."
)
FIXED = (
    (
        "Truth",
        "slices spread evenly over the middle 80 % of those with tissue, frame 0 of a cine",
    ),
    (
        "Measurement",
        "the centre of k-space (a real image's Fourier transform stands in for it), or antialiased bicubic shrinking "
        "on the same grid; no method is told which, nor how much noise there is",
    ),
    (
        "Methods",
        "their own settings, none tuned here; the slices of a volume are restored together",
    ),
    (
        "Statistics",
        f"mean over a patient's slices, then over patients; percentile bootstrap over patients, {RESAMPLES} draws; "
        "best baseline: the best mean of those without training, chosen for each metric and degradation",
    ),
    (
        "Cost",
        "wall clock of the restoration, median over volumes; memory it took above what was taken before, the most of "
        "all volumes",
    ),
)
