"""Motor units: who fires when (recruitment, rate coding) and what each discharge looks like.

The pool follows Fuglevand, Winter & Patla 1993 (doi 10.1152/jn.1993.70.6.2470); the action
potentials follow the line-source description of Farina & Merletti 2001
(doi 10.1109/10.923782): the intracellular action potential of Rosenfalck travels from the end
plate to both tendons below a bipolar electrode, in a medium that conducts better along the fibres.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DRIVE_FS", "DetectionGeometry", "MotorUnitPool", "draw_pool", "firing_times", "render"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRIVE_FS = 250.0
"""Rate of the activation and of everything that is computed from it, Hz."""

# Pool. Fuglevand et al. 1993: N, RR, MFR, PFRD, g_e and the interspike variability. The peak rate
# of the first unit is at the low end of the reported range, as trunk extensors fire slowly.
N_UNITS = 120
RR = 30.0  # range of recruitment thresholds, fold
MFR = 8.0  # minimum firing rate, impulses/s
PFR_1 = 35.0  # peak firing rate of the first unit, impulses/s
PFRD = 10.0  # its fall up to the last unit, impulses/s
G_E = 1.0  # gain of rate on excitation, impulses/s per excitation unit
ISI_CV = 0.2  # coefficient of variation of the interspike intervals
E_MAX = RR + (PFR_1 - PFRD - MFR) / G_E  # the last unit reaches its peak rate (ibid.)

# Muscle and volume conductor, millimetres.
FIBRE_RANGE = 25.0  # fibres of the last over the first unit, fold (Enoka & Fuglevand 2001)
VELOCITY_RANGE = 0.6  # (last − first) / mean conduction velocity (Andreassen & A.-Nielsen 1987)
THICKNESS_MM = 25.0  # muscle within the electrode's reach
HALF_WIDTH_MM = 14.0
HALF_FIBRE_MM = (45.0, 70.0)  # end plate to tendon
END_PLATE_OFFSET_MM = (20.0, 45.0)  # electrode's centre from the innervation zone
SCATTER_MM = 2.0  # standard deviation of the end plates of one unit
INTER_ELECTRODE_MM = 20.0  # SENIAM (Hermens et al. 2000, doi 10.1016/S1050-6411(00)00027-4)
ANISOTROPY = 5.0  # conductivity along over across the fibres (Andreassen & Rosenfalck 1981)
ROSENFALCK_MM = 12.0  # the action potential is over after this length

_INTERNAL_FS = 16000.0  # templates are computed and spikes are placed on at least this grid, Hz


@dataclass(frozen=True)
class MotorUnitPool:
    """The motor units under one channel, in order of recruitment; arrays are (n_units,).

    Parameters
    ----------
    threshold : array
        Recruitment threshold as a share of the maximal excitation, in (0, 1).
    peak_rate_hz : array
        Peak firing rate.
    n_fibres : array
        Number of fibres relative to the first unit.
    depth_mm : array
        Depth below the fascia.
    lateral_mm : array
        Sideways distance from the electrode.
    half_fibre_mm : array, (2, n_units)
        Length from the end plate to either tendon.
    end_plate_mm : array
        Distance of the end plate from the electrode's centre, along the fibres.
    velocity : array
        Conduction velocity relative to the mean of the muscle.
    """

    threshold: Floats
    peak_rate_hz: Floats
    n_fibres: Floats
    depth_mm: Floats
    lateral_mm: Floats
    half_fibre_mm: Floats
    end_plate_mm: Floats
    velocity: Floats


@dataclass(frozen=True)
class DetectionGeometry:
    """What differs between subjects and sessions in how a pool is seen.

    Parameters
    ----------
    tissue_mm : float
        Skin and fat above the muscle, mm.
    velocity_m_s : float
        Mean conduction velocity, m/s.
    shift_mm : float
        Displacement of the electrode from its reference place along the fibres, mm.
    """

    tissue_mm: float
    velocity_m_s: float
    shift_mm: float


def draw_pool(rng: np.random.Generator) -> MotorUnitPool:
    """Draw the motor units of one muscle.

    Thresholds and peak rates are those of Fuglevand et al. 1993, eqs 1 and 4:
    RTE_i = exp(i ln(RR) / n), PFR_i = PFR_1 − PFRD · RTE_i / RTE_n; positions are uniform in the
    cross-section that the electrode reaches.
    """
    i = np.arange(1, N_UNITS + 1)
    rte = np.exp(np.log(RR) * i / N_UNITS)
    size = (i - 1) / (N_UNITS - 1)
    end_plate = rng.uniform(*END_PLATE_OFFSET_MM) + rng.normal(0.0, 4.0, N_UNITS)
    velocity = 1.0 + VELOCITY_RANGE * (size - 0.5) + rng.normal(0.0, 0.04, N_UNITS)
    return MotorUnitPool(
        threshold=rte / E_MAX,
        peak_rate_hz=PFR_1 - PFRD * rte / RR,
        n_fibres=np.exp(np.log(FIBRE_RANGE) * size),
        depth_mm=rng.uniform(1.0, THICKNESS_MM, N_UNITS),
        lateral_mm=rng.uniform(-HALF_WIDTH_MM, HALF_WIDTH_MM, N_UNITS),
        half_fibre_mm=rng.uniform(*HALF_FIBRE_MM, (2, N_UNITS)),
        end_plate_mm=end_plate,
        velocity=velocity,
    )


def firing_times(
    pool: MotorUnitPool, activation: Floats, rng: np.random.Generator
) -> tuple[Floats, Ints]:
    """Discharge times under a drive that varies in time.

    Above its threshold a unit fires at g_e (E − RTE_i) + MFR, at most PFR_i (Fuglevand et al.
    1993, eq. 3). Intervals of mean 1 and coefficient of variation 0.2 are laid out in operational
    time, the integral of that rate, which makes the renewal process follow a changing drive.

    Parameters
    ----------
    pool : MotorUnitPool
    activation : array, (n_frames,)
        Excitation as a share of the maximum, in [0, 1], at `DRIVE_FS`.
    rng : Generator

    Returns
    -------
    times_s : array, (n_spikes,)
        Seconds, sorted within each unit.
    units : array of int, (n_spikes,)
        Index of the unit that fired.
    """
    edges_s = np.arange(len(activation) + 1) / DRIVE_FS
    operational = np.zeros(len(activation) + 1)
    times: list[Floats] = []
    for unit, unit_rng in enumerate(rng.spawn(len(pool.threshold))):
        above = (activation - pool.threshold[unit]) * E_MAX
        rate = np.where(above >= 0, np.minimum(G_E * above + MFR, pool.peak_rate_hz[unit]), 0.0)
        np.cumsum(rate / DRIVE_FS, out=operational[1:])
        total = operational[-1]
        if total == 0:
            times.append(np.empty(0))
            continue
        n_draws = int(total + 10 + 6 * ISI_CV * np.sqrt(total))
        # a refractory floor keeps intervals positive
        intervals = np.maximum(1 + ISI_CV * unit_rng.standard_normal(n_draws), 0.2)
        intervals[0] *= unit_rng.uniform()
        spikes = np.cumsum(intervals)
        times.append(np.interp(spikes[spikes < total], operational, edges_s))
    units = np.repeat(np.arange(len(times)), [len(t) for t in times])
    return np.concatenate(times), units


def action_potentials(
    pool: MotorUnitPool, geometry: DetectionGeometry, fs: float, *, slowing: float = 1.0
) -> tuple[Floats, int, float]:
    """Surface action potentials of all units on a grid finer than `fs`, band-limited to fs / 2.

    Farina & Merletti 2001, eq. 6, after integration by parts: φ(t) = ∫ ψ(s − v t) W(s) ds, where ψ
    is the slope of Rosenfalck's action potential 96 z³ e^(−z) and W the slope of the electrode's
    weight along both halves of the fibre. The weight of a point source at distance ρ from an
    electrode is (K ρ² + z²)^(−1/2): far units come out small and wide.

    Parameters
    ----------
    pool : MotorUnitPool
    geometry : DetectionGeometry
    fs : float
        Sampling rate of the recording, Hz.
    slowing : float
        Factor on every conduction velocity, in (0, 1].

    Returns
    -------
    potentials : array, (n_units, n_fine)
        Arbitrary unit, the same for all pools.
    oversampling : int
        Fine samples per sample of the recording.
    centre_s : float
        Mean delay from discharge to the middle of the potential, s.
    """
    oversampling = int(np.ceil(_INTERNAL_FS / fs))
    dt = 1.0 / (fs * oversampling)
    velocity = pool.velocity * geometry.velocity_m_s * slowing  # m/s = mm/ms
    longest_ms = (pool.half_fibre_mm.max(axis=0) + ROSENFALCK_MM + 4 * SCATTER_MM) / velocity
    n_fine = int(np.ceil(longest_ms.max() * 1e-3 / dt / oversampling)) * oversampling
    n_fft = 2 * n_fine
    along = velocity[:, None] * 1e3 * dt * np.arange(n_fine)  # mm travelled
    end_plate = pool.end_plate_mm + geometry.shift_mm
    # the fibres of a unit are spread over a territory that grows with their number
    rho2 = (pool.depth_mm + geometry.tissue_mm) ** 2 + pool.lateral_mm**2 + 1.5 * pool.n_fibres
    towards, away = (
        direction
        * _electrode_slope(direction * along - end_plate[:, None], rho2[:, None])
        * (along < half[:, None])
        for direction, half in zip((1.0, -1.0), pool.half_fibre_mm, strict=True)
    )
    slope = -96.0 * (3 * along**2 - along**3) * np.exp(-along)
    spectrum = np.fft.rfft(slope, n_fft) * np.fft.rfft(-(towards + away), n_fft)
    f: Floats = np.fft.rfftfreq(n_fft, dt).astype(np.float64)
    # the end plates' scatter arrives as a Gaussian spread of delays
    sigma = SCATTER_MM / velocity[:, None] * 1e-3
    spectrum *= np.exp(-0.5 * (2 * np.pi * f * sigma) ** 2) * _anti_alias(f, fs)
    spectrum *= np.exp(-2j * np.pi * f * 4 * sigma.max())  # keeps the spread causal
    step_mm = velocity * 1e3 * dt
    potentials = np.fft.irfft(spectrum, n_fft)[:, :n_fine]
    centre_s = float(np.mean(end_plate / velocity)) * 1e-3 + 4 * float(sigma.max())
    return potentials * (pool.n_fibres * step_mm)[:, None], oversampling, centre_s


def _electrode_slope(z_mm: Floats, rho2_mm2: Floats) -> Floats:
    """Slope along the fibre of the bipolar electrode's weight."""
    half = INTER_ELECTRODE_MM / 2

    def slope(z: Floats) -> Floats:
        return -z / (ANISOTROPY * rho2_mm2 + z**2) ** 1.5

    return slope(z_mm + half) - slope(z_mm - half)


def _anti_alias(f: Floats, fs: float) -> Floats:
    """Raised-cosine low-pass from 0.4 fs to 0.5 fs, as the amplifier's converter has."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((f / fs - 0.4) / 0.1, 0.0, 1.0))


def render(
    pool: MotorUnitPool,
    geometry: DetectionGeometry,
    times_s: Floats,
    units: Ints,
    *,
    fs: float,
    n_times: int,
    fatigue: float = 0.0,
) -> Floats:
    """Sum the action potentials of all discharges.

    Parameters
    ----------
    pool, geometry
        The units and how they are seen.
    times_s, units : arrays, (n_spikes,)
        From `firing_times`.
    fs : float
        Sampling rate, Hz.
    n_times : int
        Samples of the recording.
    fatigue : float
        Rate at which conduction velocity falls, share per minute.

    Returns
    -------
    array, (n_times,)
        Arbitrary unit, the same for all pools.
    """
    signal = np.zeros(n_times)
    # a fall of 1 % per block is too small to be seen as a step
    block_s = 0.6 / fatigue if fatigue > 0 else np.inf
    blocks = np.floor(times_s / block_s).astype(np.int64)
    for block in np.unique(blocks):
        inside = blocks == block
        middle_min = (block + 0.5) * block_s / 60 if fatigue > 0 else 0.0
        potentials, oversampling, centre_s = action_potentials(
            pool, geometry, fs, slowing=float(np.exp(-fatigue * middle_min))
        )
        _add(signal, potentials, oversampling, times_s[inside] - centre_s, units[inside], fs)
    return signal


def _add(
    signal: Floats, shapes: Floats, oversampling: int, times_s: Floats, rows: Ints, fs: float
) -> None:
    """Add `shapes[rows]` to `signal` at `times_s`, placed on the fine grid."""
    fine = np.rint(times_s * fs * oversampling).astype(np.int64)
    start = -(-fine // oversampling)  # first sample at or after the discharge
    phase = start * oversampling - fine
    lags = shapes.shape[1] // oversampling
    polyphase = shapes[:, : lags * oversampling].reshape(len(shapes), lags, oversampling)
    # one column per (row, phase): a lag is then one gather and one weighted count
    table = np.ascontiguousarray(polyphase.transpose(1, 0, 2)).reshape(lags, -1)
    column = rows * oversampling + phase
    order = np.argsort(start, kind="stable")
    start, column = start[order], column[order]
    # samples before and after the recording are computed and cut
    origin = max(0, -int(start.min(initial=0)))
    total = np.zeros(max(len(signal), int(start.max(initial=0)) + 1) + origin + lags)
    for lag in range(lags):
        weights = table[lag][column]
        counted = np.bincount(start + origin, weights, minlength=len(total) - lag)
        total[lag : lag + len(counted)] += counted[: len(total) - lag]
    signal += total[origin : origin + len(signal)]
