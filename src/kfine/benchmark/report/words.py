"""Texts of the report: captions of tables and plots, and the fixed settings."""

from __future__ import annotations

from kfine.benchmark.statistics import LEVEL, RESAMPLES

NO_COMPARISON = "Nothing to compare: no method has results of the same patients as a simpler one."
NOWHERE = (
    "In none of {compared} did a method do visibly better on average than one that does more, in the image metrics and "
    "the distances of sharpness."
)
ONE = " One patient: no intervals, nothing is known of others."
FEW = " With {patients} an interval says how much these differ, not what others will show."
TOO_FEW = (
    " The bootstrap intervals in tables and plots are too narrow for {patients}: of normal values they miss the true "
    "mean in about {missed} % of cases, not in 5 %. Whether a difference leaves out 0 is decided by the paired t "
    "interval, which for two methods chosen beforehand misses in 5 % of such cases however few the patients are."
)
DEFEATS = (
    "In {count} of {compared} a simpler method is better on average than one that does more; in {sure} of them the "
    "95 % t interval of the difference leaves out 0."
)
DEFEATS_ONE = "In {count} of {compared} a simpler method is better than one that does more."
DEFEATS_TABLE = (
    "By how much the best of the simpler methods, named below, is better than the one at the left: without training "
    "before a network without sampling before many samples. Differences of less than half of the last digit are not "
    "listed. Bold: the 95 % paired t interval of the difference within patients leaves out 0; each is tested "
    "alone, and the best of the simpler methods was chosen on the same patients, so more than 5 of 100 do by chance. "
    "One sample is not made to win image metrics, a mean not to be sharp; both are listed. Nearest neighbour does not "
    "compete in sharpness: the edges of its pixels would win."
)
NO_RESULT = "No method came to a result; see what is missing, below."
GAINS = (
    "{title} inside the body: difference to the best method without training, within patients, mean and "
    f"{100 * LEVEL:.0f} % bootstrap interval. Right of the line is better. Hollow: one sample in the place of the "
    "mean. Nearest neighbour and bilinear are not drawn."
)
WHO = (
    "The pictures show patient {subject}, slice {number}: of the patients the one in the middle by PSNR, of its slices "
    "the one in the middle; neither was chosen by eye."
)
SCORES = (
    "Means over {patients}; a method with results of fewer says so, and cannot be the best. Below them the 95 % "
    "bootstrap interval over patients. Image metrics inside the body. "
    "Sharpness: distance to the truth's own value. Bold: the best mean of a column. Gain: within patients. Groups: "
    "without training; a network without sampling; many samples, of which the mean and one are scored."
)
PICTURE = (
    "{title}: image, the outlined detail enlarged, absolute error; every voxel as the rectangle that it is. PSNR and "
    "SSIM of this slice inside the body."
)
SPREAD = " Below the truth: standard deviation of {method}."
INTERVAL = " Below the truth: half the width of the 90 % interval of {method}, the unsure voxels outlined ({unsure})."
CORRELATION = (
    "Fourier ring correlation with the truth, mean over patients: 1 where the detail is the truth's, 0 where it has "
    "nothing to do with it. Vertical lines: the border of what was measured, in each direction. Dashed level: 0.5, "
    "where “resolved” in the tables is read off, slice by slice. Nearest neighbour and bilinear are not drawn."
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
        f"mean over a patient's slices, then over patients; intervals: percentile bootstrap over patients, {RESAMPLES} "
        "draws; whether a difference leaves out 0: paired t interval (Student 1908), exact where differences are "
        "normal; best baseline: the best mean of those without training that have results of all patients, chosen for "
        "each metric and degradation",
    ),
    (
        "Cost",
        "wall clock of the restoration, median over volumes; memory it took above what was taken before, the most of "
        "all volumes",
    ),
)
