"""Fit the hand template to the 21 landmarks of a hand in a picture, and drive the fitted hand.

The fit finds joint angles inside anatomical limits, orientation, size and place (weak perspective), then takes up what
is left as a displacement of the rest mesh, so that the projected landmarks coincide with the picture's. The vertices'
pixels in the picture are the hand's texture coordinates: the driven mesh, rasterised with them as attribute, samples
the picture (the paper's hand control image, without a network).

The paper states neither the fitter nor its weights: all numbers here are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motion.template.hands import FINGERS, PALM_LANDMARKS, HandTemplate
from motion.template.head import rotation_matrix
from motion.types import HAND_DIM, HAND_JOINTS

ITERATIONS, ENOUGH = 25, 1e-3  # at most so many steps, until one gains less than this share
# Standard deviations of the residuals: pixels and depth in hand sizes, angles in rad, size in log.
SIGMA_PIXEL, SIGMA_DEPTH, SIGMA_SCALE = 0.015, 0.15, 0.15
SIGMA_COUPLING = 0.25  # the last two finger joints bend together: distal = 2/3 of middle
FOREARM_LENGTH = 0.25  # metres, wrist to elbow
ANGLES = len(HAND_JOINTS) * 3


def _per_joint(finger: tuple[tuple[float, ...], ...], thumb: tuple[tuple[float, ...], ...]) -> Tensor:
    """``[45]``: rows of (flexion, abduction, twist) for knuckle, middle, last joint; fingers, then thumb."""
    rows = [finger if not name.startswith("thumb") else thumb for name in HAND_JOINTS[::3]]
    return torch.tensor(rows, dtype=torch.float64).flatten()


LOWER = _per_joint(((-0.5, -0.4, -0.1), (-0.1, 0.0, 0.0), (-0.2, 0.0, 0.0)),
                   ((-0.6, -0.6, -0.5), (-0.5, -0.2, -0.1), (-0.7, 0.0, 0.0)))
UPPER = _per_joint(((1.6, 0.4, 0.1), (1.9, 0.0, 0.0), (1.3, 0.0, 0.0)),
                   ((0.8, 0.6, 0.5), (1.0, 0.2, 0.1), (1.3, 0.0, 0.0)))
SIGMA_ANGLE = _per_joint(((0.6, 0.2, 0.05), (0.7, 1.0, 1.0), (0.5, 1.0, 1.0)),
                         ((0.4, 0.4, 0.25), (0.4, 0.1, 0.05), (0.5, 1.0, 1.0)))
MEAN = _per_joint(((0.2, 0.0, 0.0), (0.3, 0.0, 0.0), (0.2, 0.0, 0.0)), ((0.0, 0.0, 0.0),) * 3)


@dataclass
class HandFit:
    """A hand of a picture.

    joint_rotations: ``[15, 3]`` axis-angle, `HAND_JOINTS` order
    global_rotation, forearm_rotation: ``[3]`` of wrist and forearm, template axes
    scale: pixels per metre; wrist: ``[2]`` px
    offsets: ``[V, 3]`` metres, the person's shape, added to the rest vertices
    source: ``[V, 2]`` px, where in the picture each vertex finds its colour; hidden vertices borrow from visible ones
    visible: ``[V]`` bool, seen in the picture
    error: root mean square distance of the landmarks before the displacement, in hand sizes (below 0.05 is good)
    """

    template: HandTemplate
    joint_rotations: Tensor
    global_rotation: Tensor
    forearm_rotation: Tensor
    scale: float
    wrist: Tensor
    offsets: Tensor
    source: Tensor
    visible: Tensor
    error: float


@dataclass
class _Camera:
    """Weak perspective of a fit in progress: what the optimiser moves, besides the angles."""

    rotation: Tensor  # [3, 3]
    log_scale: Tensor  # []
    wrist: Tensor  # [2] px


def fit_hand(
    template: HandTemplate, landmarks: Tensor, *, scale_hint: float | None = None, elbow: Tensor | None = None
) -> HandFit:
    """Find pose, place and shape of a hand.

    Args:
        template: of the right side.
        landmarks: ``[21, 3]`` MediaPipe's points, x and y in px, z in px relative to the wrist (smaller is nearer).
        scale_hint: pixels per metre, when body or head tell it; resolves foreshortening (a prior of 15 %).
        elbow: ``[2]`` px, turns the forearm towards it; without it the forearm goes straight on from the hand.

    Deterministic: Levenberg-Marquardt over 51 numbers with finite differences in one batch.
    """
    if landmarks.shape != (21, 3):
        raise ValueError(f"landmarks must be [21, 3] (x px, y px, relative z px), got {list(landmarks.shape)}.")
    target = landmarks.detach().double().cpu()
    size = float((target[:, :2].amax(0) - target[:, :2].amin(0)).norm())
    if not size > 0:
        raise ValueError("the hand's landmarks coincide or are not finite; it cannot be fitted.")
    angles, camera = MEAN.clone(), _initial_camera(template, target)
    problem = _Problem(template, target, size, scale_hint)
    angles, camera = _minimise(problem, angles, camera)
    return _finish(problem, angles, camera, elbow)


def drive_hand(fit: HandFit, delta: Tensor, shoulder_px: float) -> Tensor:
    """Move a fitted hand.

    Args:
        fit: of the source picture.
        delta: ``[B, 51]`` relative to the picture: 15 joint rotations (each in the joint's own, already posed frame),
            global rotation (template axes, about the wrist), wrist translation (shoulder widths, image axes: y down,
            z to the viewer).
        shoulder_px: shoulder width in the picture.

    Returns:
        vertices ``[B, V, 3]``: x px, y px, depth px (larger is nearer). Zero delta gives back the picture's hand.
    """
    B, D = delta.shape
    if D != HAND_DIM:
        raise ValueError(f"delta must be [B, {HAND_DIM}], got {list(delta.shape)}.")
    joints, rotation, shift = delta.split([D - 6, 3, 3], dim=1)
    local = compose(fit.joint_rotations.to(delta), joints.view(B, -1, 3))
    world = compose(rotation, fit.global_rotation.to(delta).expand(B, 3))
    forearm = fit.forearm_rotation.to(delta).expand(B, 3)  # the sleeve stays with the arm
    vertices, _ = fit.template.pose(
        local, world, torch.zeros_like(shift), offsets=fit.offsets, forearm_rotation=forearm)
    return _project(vertices, fit.scale, fit.wrist.to(delta)) + shift.unsqueeze(1) * shoulder_px


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Axis-angle ``[..., 3]`` of the rotation ``R(first) · R(second)``."""
    return _axis_angle(rotation_matrix(first) @ rotation_matrix(second))


def _axis_angle(matrix: Tensor) -> Tensor:
    """Inverse of `rotation_matrix`, through the quaternion, whose largest component is safe to divide by."""
    m = matrix
    diagonal = torch.diagonal(m, dim1=-2, dim2=-1)
    trace = diagonal.sum(-1, keepdim=True)
    squares = torch.cat([1 + trace, 1 - trace + 2 * diagonal], dim=-1).clamp_min(0)  # (4w², 4x², 4y², 4z²)
    w = torch.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], dim=-1)
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    products = torch.stack([
        torch.cat([squares[..., :1], w], dim=-1),
        torch.stack([w[..., 0], squares[..., 1], xy, xz], dim=-1),
        torch.stack([w[..., 1], xy, squares[..., 2], yz], dim=-1),
        torch.stack([w[..., 2], xz, yz, squares[..., 3]], dim=-1),
    ], dim=-2)  # row k: quaternion times 4 q_k
    best = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = products.gather(-2, best).squeeze(-2)
    quaternion = torch.nn.functional.normalize(quaternion, dim=-1) * torch.where(quaternion[..., :1] < 0, -1.0, 1.0)
    sine = quaternion[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * torch.where(sine > 1e-7, angle / sine.clamp_min(1e-7), 2.0)


def _project(points: Tensor, scale: float | Tensor, wrist: Tensor) -> Tensor:
    """Metres relative to the wrist -> (x px, y px, depth px)."""
    pixels = points * points.new_tensor([1.0, -1.0, 1.0]) * scale
    return pixels + torch.cat([wrist, wrist.new_zeros(1)]).to(pixels.dtype)


def _initial_camera(template: HandTemplate, target: Tensor) -> _Camera:
    """Similarity from the palm's landmarks (Kabsch)."""
    palm = list(PALM_LANDMARKS)
    rest = template.landmarks.double()[palm]
    seen = target[palm] * target.new_tensor([1.0, -1.0, -1.0])
    centred, seen = rest - rest.mean(0), seen - seen.mean(0)
    U, S, Vt = torch.linalg.svd(seen.t() @ centred)
    sign = torch.ones(3, dtype=S.dtype)
    sign[2] = torch.sign(torch.linalg.det(U @ Vt))
    scale = (S * sign).sum() / centred.square().sum()
    return _Camera(U @ torch.diag(sign) @ Vt, scale.clamp_min(1e-6).log(), target[0, :2].clone())


class _Problem:
    """Residuals of the fit, for a batch of parameter changes at once."""

    def __init__(self, template: HandTemplate, target: Tensor, size: float, scale_hint: float | None) -> None:
        self.template, self.target, self.size = template, target, size
        self.log_hint = None if scale_hint is None else torch.tensor(scale_hint, dtype=torch.float64).log()
        self.axes = template.axes.double()

    def rotations(self, angles: Tensor) -> Tensor:
        """Angles ``[B, 45]`` about the joints' axes -> axis-angle ``[B, 15, 3]``."""
        return torch.einsum("bjk,jkc->bjc", angles.view(len(angles), -1, 3), self.axes)

    def landmarks(self, angles: Tensor, camera: _Camera, change: Tensor) -> Tensor:
        """Projected ``[B, 21, 3]``; `change` ``[B, 6]``: rotation 3, log scale, wrist 2 (hand sizes)."""
        zero = angles.new_zeros(len(angles), 3)
        rotation, position = self.template.bones(self.rotations(angles), zero, zero)
        points = self.template.place_landmarks(rotation, position)
        points = points @ (rotation_matrix(change[:, :3]) @ camera.rotation).transpose(1, 2)
        scale = (camera.log_scale + change[:, 3]).exp()[:, None, None]
        wrist = camera.wrist + change[:, 4:] * self.size
        pixels = points * points.new_tensor([1.0, -1.0, 1.0]) * scale
        return pixels + torch.cat([wrist, zero[:, :1]], dim=1).unsqueeze(1)

    def residuals(self, angles: Tensor, camera: _Camera, change: Tensor) -> Tensor:
        """``[B, R]``, in standard deviations."""
        points = self.landmarks(angles, camera, change)
        plane = (points[..., :2] - self.target[:, :2]) / (self.size * SIGMA_PIXEL)
        depth = points[..., 2] - points[:, :1, 2] + self.target[:, 2] - self.target[0, 2]  # theirs: smaller is nearer
        prior = (angles - MEAN) / SIGMA_ANGLE
        bend = angles.view(len(angles), FINGERS, 3, 3)[:, :-1, :, 0]
        coupling = (bend[..., 2] - bend[..., 1] * 2 / 3) / SIGMA_COUPLING
        parts = [plane.flatten(1), depth / (self.size * SIGMA_DEPTH), prior, coupling]
        if self.log_hint is not None:
            parts.append((camera.log_scale + change[:, 3:4] - self.log_hint) / SIGMA_SCALE)
        return torch.cat(parts, dim=1)


def _minimise(problem: _Problem, angles: Tensor, camera: _Camera) -> tuple[Tensor, _Camera]:
    """Levenberg-Marquardt; angles are clamped to their limits after every step."""
    step, damping = 1e-5, 1e-2
    none = angles.new_zeros(1, 6)
    current = problem.residuals(angles[None], camera, none)[0]
    for _ in range(ITERATIONS):
        probe = torch.eye(ANGLES + 6, dtype=angles.dtype) * step
        moved = problem.residuals(angles + probe[:, :ANGLES], camera, probe[:, ANGLES:])
        J = (moved - current).t() / step
        # A limited angle that would leave its range does not take part in this step.
        gradient = J.t() @ current
        stuck = ((angles <= LOWER) & (gradient[:ANGLES] > 0)) | ((angles >= UPPER) & (gradient[:ANGLES] < 0))
        free = torch.cat([~stuck, torch.ones(6, dtype=torch.bool)])
        normal = J[:, free].t() @ J[:, free]
        for _ in range(6):
            change = torch.zeros_like(gradient)
            change[free] = -torch.linalg.solve(normal + damping * torch.diag(normal.diagonal()), gradient[free])
            trial = (angles + change[:ANGLES]).clamp(LOWER, UPPER)
            moved_camera = _moved(camera, change[ANGLES:], problem.size)
            residual = problem.residuals(trial[None], moved_camera, none)[0]
            if residual.square().sum() < current.square().sum():
                break
            damping *= 4
        else:
            break
        gain = 1 - residual.square().sum() / current.square().sum()
        angles, camera, current, damping = trial, moved_camera, residual, max(damping / 4, 1e-6)
        if gain < ENOUGH:
            break
    return angles, camera


def _moved(camera: _Camera, change: Tensor, size: float) -> _Camera:
    rotation = rotation_matrix(change[:3]) @ camera.rotation
    return _Camera(rotation, camera.log_scale + change[3], camera.wrist + change[4:] * size)


def _finish(problem: _Problem, angles: Tensor, camera: _Camera, elbow: Tensor | None) -> HandFit:
    """Spread what is left over the mesh, and find each vertex's pixel in the picture."""
    template = problem.template
    left = problem.target[:, :2] - problem.landmarks(angles[None], camera, angles.new_zeros(1, 6))[0, :, :2]
    scale, wrist = float(camera.log_scale.exp()), camera.wrist.float()
    forearm = _forearm_rotation(template, camera, elbow)
    fit = HandFit(
        template, problem.rotations(angles[None])[0].float(), _axis_angle(camera.rotation).float(),
        _axis_angle(forearm).float(), scale, wrist, torch.zeros_like(template.vertices),
        template.vertices[:, :2], torch.ones(len(template.vertices), dtype=torch.bool),
        float(left.square().sum(1).mean().sqrt() / problem.size),
    )
    return displace(fit, template.spread @ left.float())


def displace(fit: HandFit, pixels: Tensor) -> HandFit:
    """The fit with its vertices moved by ``[V, 2]`` px in the picture; which becomes shape and turns with the hand."""
    template = fit.template
    zero = torch.zeros(1, 3)
    rotation, position = template.bones(
        fit.joint_rotations[None], fit.global_rotation[None], zero, fit.forearm_rotation[None])
    matrix, shift = template.skinning(rotation, position)
    move = torch.cat([pixels * torch.tensor([1.0, -1.0]) / fit.scale, torch.zeros(len(pixels), 1)], dim=1)
    offsets = fit.offsets + torch.linalg.solve(matrix[0], move.unsqueeze(-1)).squeeze(-1)
    rest = template.vertices + template.corrective(fit.joint_rotations[None])[0] + offsets
    vertices = (matrix[0] @ rest.unsqueeze(-1)).squeeze(-1) + shift[0]
    projected = _project(vertices, fit.scale, fit.wrist)
    visible = visible_vertices(projected, template.triangles)
    source = projected[nearest_visible(template.vertices, visible), :2]
    return replace(fit, offsets=offsets, source=source, visible=visible)


def _forearm_rotation(template: HandTemplate, camera: _Camera, elbow: Tensor | None) -> Tensor:
    """Orientation ``[3, 3]``: the hand's, turned the shortest way until the forearm points at the elbow."""
    if elbow is None:
        return camera.rotation
    flat = (elbow.double() - camera.wrist) * camera.wrist.new_tensor([1.0, -1.0]) / camera.log_scale.exp()
    # The forearm's length gives the depth; a speaker's hands are in front of the elbows.
    depth = (FOREARM_LENGTH**2 - flat.square().sum()).clamp_min(0).sqrt()
    goal = torch.nn.functional.normalize(torch.cat([flat, -depth[None]]), dim=0)
    arm = template.weights[:, -1] > 0.9
    if not arm.any():
        return camera.rotation
    stub = template.vertices[arm].mean(0).double() - template.joints[0].double()
    now = camera.rotation @ torch.nn.functional.normalize(stub, dim=0)
    axis = torch.linalg.cross(now, goal)
    angle = torch.atan2(axis.norm(), now @ goal)
    return rotation_matrix(torch.nn.functional.normalize(axis, dim=0) * angle) @ camera.rotation


def visible_vertices(pixels: Tensor, triangles: Tensor) -> Tensor:
    """``[V]`` bool: vertices of a projected mesh ``[V, 3]`` that face the viewer with no triangle in front of them.

    Exact. Every pair of vertex and triangle is looked at, but only those whose boxes meet are tested.
    """
    corner = pixels[triangles]
    u, v = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]  # negative: faces the viewer (y points down)
    normal = pixels.new_zeros(len(pixels)).index_add_(0, triangles.flatten(), -area.repeat_interleave(3))
    front = (area < 0).nonzero().squeeze(1)
    low, high = corner[front].amin(dim=1), corner[front].amax(dim=1)
    tolerance = 0.01 * float(pixels[:, :2].amax() - pixels[:, :2].amin())
    x, y, z = pixels.t().unsqueeze(2)
    meet = (x >= low[:, 0]) & (x <= high[:, 0]) & (y >= low[:, 1]) & (y <= high[:, 1]) & (z + tolerance < high[:, 2])
    vertex, triangle = meet.nonzero().unbind(1)
    triangle = front[triangle]
    u, v, area = u[triangle], v[triangle], area[triangle]
    offset = pixels[vertex] - corner[triangle, 0]
    a = (offset[:, 0] * v[:, 1] - offset[:, 1] * v[:, 0]) / area
    b = (u[:, 0] * offset[:, 1] - u[:, 1] * offset[:, 0]) / area
    over = (a >= 0) & (b >= 0) & (a + b <= 1) & (a * u[:, 2] + b * v[:, 2] > offset[:, 2] + tolerance)
    over &= (triangles[triangle] != vertex.unsqueeze(1)).all(dim=1)
    visible = normal > 0
    visible[vertex[over]] = False
    return visible


def nearest_visible(rest: Tensor, visible: Tensor) -> Tensor:
    """``[V]`` index of the visible vertex next to each vertex at rest; visible ones keep themselves."""
    candidates = visible.nonzero().squeeze(1)
    if len(candidates) == 0:
        return torch.arange(len(rest), device=rest.device)
    nearest = candidates[torch.cdist(rest, rest[candidates]).argmin(dim=1)]
    return torch.where(visible, torch.arange(len(rest), device=rest.device), nearest)
