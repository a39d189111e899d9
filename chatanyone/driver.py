"""Where motion meets rendering: template and portrait become meshes, control points and keypoints in pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import torch
from torch import Tensor

from chatanyone.arm_rig import ArmRig, arm_layers
from chatanyone.hand_rig import SIDES, HandRig, hand_rigs
from chatanyone.portrait import Portrait
from chatanyone.portraits.teeth import one_colour, pictured_teeth
from chatanyone.vision import CHEEKS
from motion.template.fit import HeadFit, fit_head
from motion.template.hands import HandTemplate
from motion.template.head import KEYPOINT_LANDMARKS, HeadTemplate, rotation_matrix
from motion.types import ARKIT_INDEX, ARKIT_NAMES, BODY_KEYPOINTS, HAND_DIM, BodyMotion, FaceMotion
from render.mouth import LUMINANCE
from render.rasterize import rasterize
from render.types import Part, RenderDrive, RenderSource, Surface

# MediaPipe's face outline: the smooth field meets the mesh there. With every second point only, the chin got a scalloped edge.
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136,
        172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
OUTLINE = OVAL
HAIR_RAYS = 15
DOME = 0.9  # of a half ball: how far the hair stands before its silhouette
# These open the mouth: motion sets them outright, so that speech can close a mouth the picture shows open. All other
# weights of the picture's own expression stay and motion adds to them.
ABSOLUTE = ("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLowerDownLeft", "mouthLowerDownRight",
            "mouthUpperUpLeft", "mouthUpperUpRight")
# A warped picture keeps its shading, so detectors read less nodding than its points make: drawn this much larger, what is set
# comes back (calibrated with `chatanyone evaluate --only commands`; our choice). Yaw comes back by itself.
POSE_GAIN = (1.25, 1.0, 1.0)  # pitch, yaw, roll
DISTANCE_M = 0.8  # of head and camera, as in tracking_fit: what turns a head that comes nearer into a larger one
FOREARM = 0.6  # shoulder widths
POINTING = 0.3  # of a forearm's length: seen shorter, it points at the viewer, and its elbow moves as the hand does
POINTED_TURN = 0.35  # of a turn is drawn then: what the hand hides, its own forearm above all, no picture shows
HANGING = 0.15  # of the motion, for an arm whose hand is outside the picture
THROAT = 0.06  # metres
CHEEK = 0.03  # metres
CHIN_ROOM = {"neck": 0.35, "collar": 0.55}  # face heights below the chin, at least: as in pictures that show the shoulders
CLASPED = 0.06  # shoulder widths between the nearest points of two hands that touch
LID_REACH = 0.012  # metres from the eyeball
LID_FADE = 0.04  # face widths inside the face's outline: lids count from nearer to it than other skin
SKIN_TINT = (1.17, 0.94, 0.855)  # cheeks ÷ their luminance, mean of fourteen portraits in daylight
CAST = 0.6  # how much of a cheek's tint that differs from it is the light's and not the skin's (our choice)
JAW_MOVES = 0.002  # metres at jawOpen 1
GRID = 16  # px: face windows are multiples of it


class Driver:
    """Turns motion of one person into what the renderer draws.

    The motion is relative to the person's pose in the picture; zero motion gives the picture back.

    Args: template of the head; fit, where it is known already; hands: templates of the left and the right hand.
    """

    def __init__(self, portrait: Portrait, template: HeadTemplate, fit: HeadFit | None = None,
                 hands: tuple[HandTemplate, HandTemplate] | None = None) -> None:
        self.portrait, self.template = portrait, template
        self.fit = fit or fit_head(template, portrait.face)
        self.rest = self.fit.expression.clone()
        self.rest[[ARKIT_INDEX[name] for name in ABSOLUTE]] = 0
        self.rest_vertices = self.fit.vertices(template)
        self._reach = self._forearms()
        self._clasped = all(portrait.hand_seen) and float(torch.cdist(
            *portrait.hands[..., :2]).min()) < CLASPED * portrait.shoulder_width_px
        self.hands = hand_rigs(portrait, self.fit.camera.scale, hands)
        self.arms, self._limbs, self._body = arm_layers(portrait, self.hands)
        self._control = _Controls(portrait, template, self.fit, self.rest_vertices, self.arms,
                                  [rig for rig in self.hands if rig.joined])
        self.body_control = self._control.body  # which body keypoints are control points: the last ones
        self.source = self._source()

    def __call__(self, face: FaceMotion, body: BodyMotion, measured: bool = False) -> RenderDrive:
        """Args: face ``[B, 52/3/3]``, body ``[B, 14, 3]`` and hands ``[B, 2, 51]``; measured: the motion was seen in a clip of
        this person and is drawn as it is, without the gains that fit invented motion to a picture."""
        size, gain = self.portrait.shoulder_width_px, (1.0, 1.0, 1.0) if measured else POSE_GAIN
        face = replace(face, rotation=face.rotation * face.rotation.new_tensor(gain))
        body = body if measured else self._arms(body)
        delta = body.delta[..., :2] * size  # Eq. 1 with s, t of the picture and R = 1
        body_points = self.portrait.body[:, :2] + delta
        neck = delta[:, 0]
        mesh = self.posed(face)
        head = self.fit.camera.project(mesh, self.template.pivot)
        approach = self.approach(face)
        head = approached(head, *approach)
        lift = torch.cat([neck, torch.zeros(len(neck), 1)], dim=-1)[:, None]
        head = head + lift
        driven = [rig.drive(body.hands) for rig in self.hands]
        palms = [points for rig, (_, points) in zip(self.hands, driven) if rig.joined]
        control = self._control.drive(face, head, body_points, neck, palms, approach)
        meshes = [mesh for found, _ in driven for mesh in found]
        limbs = [arm.drive(body_points, driven[self.hands.index(arm.hand)][1]) for arm in self.arms]
        return RenderDrive(head, control, meshes, self._keypoints(head), body_points, limbs)

    def approach(self, face: FaceMotion) -> tuple[Tensor, Tensor]:
        """What a head that comes nearer grows about ``[B, 1, 2]`` px, and how much ``[B, 1, 1]``."""
        camera = self.fit.camera
        offset = face.translation @ camera.matrix.T
        centre = camera.centre + camera.scale * offset[:, :2] * offset.new_tensor([1.0, -1.0])
        return centre[:, None], (DISTANCE_M / (DISTANCE_M - offset[:, 2].clamp(max=DISTANCE_M / 2)))[:, None, None]

    @property
    def free_control(self) -> Tensor:
        """Indices of the control points that no mesh decides: hair and body."""
        return torch.arange(len(OUTLINE), len(self.source.control))

    @property
    def stiffness(self) -> Tensor:
        """``[N, N]`` over `free_control`: what changes the shape of the hair, beyond an affine map."""
        hair = 2 * HAIR_RAYS
        points = self.source.control[len(OUTLINE):len(OUTLINE) + hair]
        basis, _ = torch.linalg.qr(torch.cat([torch.ones(hair, 1), (points - points.mean(0)) / 100], 1))
        out = torch.zeros(len(self.free_control), len(self.free_control))
        out[:hair, :hair] = torch.eye(hair) - basis @ basis.T
        return out

    def _arms(self, body: BodyMotion) -> BodyMotion:
        """Fit the arms' motion to the arms of the picture (our choice).

        A forearm that points at the viewer has no length in the picture, so the elbow must come along and the hand turn
        less, or the hand would come off its arm; an arm whose hand is not seen hangs, and hardly moves.
        """
        delta, hands = body.delta.clone(), body.hands.clone()
        if self._clasped:  # hands that hold each other move as one
            hands = hands.mean(1, keepdim=True).expand(-1, 2, -1) * (torch.arange(HAND_DIM) >= HAND_DIM - 3)
        for side, name in enumerate(SIDES):
            reach = self._reach[side]
            wrist, elbow = (BODY_KEYPOINTS.index(f"{joint}{name.capitalize()}") for joint in ("wrist", "elbow"))
            gain = 0.5 + 0.5 * reach if self.portrait.hand_seen[side] else HANGING
            free = max(reach - POINTING, 0) / (1 - POINTING)
            hands[:, side, -6:-3] *= POINTED_TURN + (1 - POINTED_TURN) * free
            hands[:, side, -3:] *= gain
            delta[:, wrist] = hands[:, side, -3:] if self.portrait.hand_seen[side] else gain * delta[:, wrist]
            delta[:, elbow] = torch.lerp(delta[:, wrist], gain * delta[:, elbow], free)
        return BodyMotion(delta, hands)

    def _forearms(self) -> list[float]:
        """For each arm, how much of a forearm's length the picture shows: 0 foreshortened … 1 in the picture's plane."""
        canonical = self.portrait.body_canonical()[:, :2]
        lengths = [float((canonical[BODY_KEYPOINTS.index(f"wrist{name.capitalize()}")]
                          - canonical[BODY_KEYPOINTS.index(f"elbow{name.capitalize()}")]).norm()) for name in SIDES]
        return [min(length / FOREARM, 1.0) for length in lengths]

    def posed(self, face: FaceMotion) -> Tensor:
        """The person's mesh in template space, expression and head pose applied: ``[B, V, 3]`` metres."""
        mesh = self.fit.deformed(self.template, (self.rest + face.expression).clamp(0, 1))
        return self.template.pose(mesh, face.rotation, face.translation)

    def _keypoints(self, vertices: Tensor) -> Tensor:
        return self.template.on_surface(vertices, torch.tensor(KEYPOINT_LANDMARKS))

    def _source(self) -> RenderSource:
        portrait, template = self.portrait, self.template
        pixels, hidden = _seen_pixels(template, self.rest_vertices, portrait.size)
        teeth = pictured_teeth(portrait.image, portrait.face)
        if teeth:
            skin = template.triangles[template.part == Part.SKIN].unique()
            pixels[skin] = teeth.lips_instead(pixels[skin])
        colourless = one_colour(portrait.image, portrait.face)
        trust = _trust(template, self.rest_vertices)
        jaw = _around_chin(template)
        trust[hidden & jaw] = 0  # the chin's underside: its own skin, in shadow, is in the picture's neck
        # Where no corner counts, the smooth field is all there is; but jaw, throat and cheeks must hide the mouth behind them.
        counts = (trust[template.triangles] > 0).any(1) | (jaw | _about_mouth(template))[template.triangles].all(1)
        head = Surface(template.triangles[counts], pixels, trust, template.part[counts], _jaws(template))
        return RenderSource(
            foreground=portrait.foreground, matte=portrait.matte, plate=portrait.plate, head=head,
            hands=[rig.surface for rig in self.hands if rig.surface is not None],
            control=self._control.source, face_box=self._face_box(), face_keypoints=self._keypoints(self.rest_vertices),
            body_keypoints=portrait.body[:, :2].clone(), mouth_light=_mouth_light(portrait, colourless),
            limbs=self._limbs, body=self._body, teeth=teeth.colours if teeth else None, colourless=colourless)

    def _face_box(self) -> tuple[int, int, int]:
        W, H = self.portrait.size
        low, high = self.portrait.face[:, :2].amin(0), self.portrait.face[:, :2].amax(0)
        extent = float((high - low).max()) * 1.5
        side = min(math.ceil(extent / GRID) * GRID, W // GRID * GRID, H // GRID * GRID)
        middle = (low + high) / 2
        x0 = min(max(int(middle[0]) - side // 2, 0), W - side)
        y0 = min(max(int(middle[1]) - side // 2, 0), H - side)
        return x0, y0, side


class _Controls:
    """Control points of the smooth field: face outline, scalp, hair's silhouette, body."""

    def __init__(self, portrait: Portrait, template: HeadTemplate, fit: HeadFit, vertices: Tensor,
                 arms: list[ArmRig], palms: list[HandRig]) -> None:
        self.template, self.fit = template, fit
        carried = {f"wrist{SIDES[arm.hand.side].capitalize()}" for arm in arms}  # move as layers of their own
        self.body = torch.tensor([index for index, name in enumerate(BODY_KEYPOINTS) if name not in carried])
        self.outline = torch.tensor(OUTLINE)
        outline = template.on_surface(vertices, self.outline)[:, :2]
        self.hair = self._hair_points(portrait, vertices)
        hair = fit.camera.project(self.hair, template.pivot)[:, :2]
        self.room = _room_for_the_chin(portrait)[self.body]
        self.source = torch.cat([outline, hair, *[rig.control for rig in palms], portrait.body[self.body, :2] + self.room])

    def drive(self, face: FaceMotion, head: Tensor, body: Tensor, neck: Tensor, palms: list[Tensor],
              approach: tuple[Tensor, Tensor]) -> Tensor:
        """``[B, N, 2]`` px."""
        outline = self.template.on_surface(head, self.outline)[..., :2]
        R = rotation_matrix(face.rotation)
        pivot = self.template.pivot
        hair = (self.hair - pivot) @ R.transpose(-1, -2) + pivot + face.translation[:, None]
        hair_px = approached(self.fit.camera.project(hair, pivot), *approach)[..., :2] + neck[:, None]
        return torch.cat([outline, hair_px, *palms, body[:, self.body] + self.room], dim=1)

    def _hair_points(self, portrait: Portrait, vertices: Tensor) -> Tensor:
        """Points in template space that turn with the head: along rays from the head's centre to the matte's edge."""
        W, H = portrait.size
        centre = vertices[self.template.head_weight > 0.99, :2].mean(0)
        radius = float((portrait.face[10, :2] - portrait.face[152, :2]).norm()) / 2
        points = []
        for k in range(HAIR_RAYS):
            angle = math.pi * (1.08 - 1.16 * k / (HAIR_RAYS - 1))  # from the person's right ear over the crown to the left
            direction = torch.tensor([math.cos(angle), -math.sin(angle)])
            steps = torch.arange(0.6, 2.2, 0.02)[:, None] * radius * direction + centre
            x, y = steps[:, 0].long().clamp(0, W - 1), steps[:, 1].long().clamp(0, H - 1)
            solid = torch.nonzero(portrait.matte[0, y, x] > 0.5)[:, 0]
            far = steps[int(solid.max())] if len(solid) else steps[40]
            points += [far, centre + (far - centre) * 0.75]
        flat = torch.stack(points)
        camera, pivot = self.fit.camera, self.template.pivot
        local = torch.cat([flat - camera.centre, torch.zeros(len(flat), 1)], 1) * torch.tensor([1.0, -1.0, 1.0])
        # The silhouette is the head's widest circle, at the pivot's depth like the ears; further in, skin and hair are nearer.
        reach = (flat - centre).norm(dim=1)
        around = reach[::2].repeat_interleave(2)  # each ray's own silhouette: with the longest ray's, ears turned like cheeks
        local[:, 2] = (around.square() - reach.square()).clamp(min=0).sqrt() * DOME
        return local / camera.scale @ camera.matrix + pivot


def _room_for_the_chin(portrait: Portrait) -> Tensor:
    """``[14, 2]`` px by which the control points of neck and collar lie below the body keypoints: head shots have shoulders
    guessed so high that the neck's would hold the chin's middle fast."""
    room, chin = torch.zeros(len(portrait.body), 2), portrait.face[152, :2]
    height = float((portrait.face[10, :2] - chin).norm())
    for name, least in CHIN_ROOM.items():
        index = BODY_KEYPOINTS.index(name)
        room[index, 1] = (chin[1] + least * height - portrait.body[index, 1]).clamp(min=0)
    return room


def approached(points: Tensor, centre: Tensor, growth: Tensor) -> Tensor:
    """Points ``[B, N, 3]`` px of a head that came nearer: weak perspective, larger about its centre."""
    flat = centre + (points[..., :2] - centre) * growth
    return torch.cat([flat, points[..., 2:] * growth], -1)


def _trust(template: HeadTemplate, vertices: Tensor, fade: float = 0.10) -> Tensor:
    """``[V]``: 0 on MediaPipe's face outline and outside, 1 from ``fade`` face widths inside it; eyes and mouth 1.

    Only the face lies exactly on the picture; towards its outline the smooth field, which meets the mesh there, takes over.
    """
    outline = template.on_surface(vertices, torch.tensor(OVAL))[:, :2].numpy()
    width = float(outline[:, 0].max() - outline[:, 0].min())
    polygon = outline.astype("float32")[:, None]
    signed = torch.tensor([cv2.pointPolygonTest(polygon, (float(x), float(y)), True) for x, y in vertices[:, :2]])
    trust = (signed / (fade * width)).clamp(0, 1).maximum((signed / (LID_FADE * width)).clamp(0, 1) * _about_eyes(template))
    trust[vertices[:, 2] < vertices[template.head_weight > 0.99, 2].mean()] = 0  # the back of the head
    trust[template.triangles[template.part != Part.SKIN].unique()] = 1
    return trust * trust * (3 - 2 * trust)


def _jaws(template: HeadTemplate) -> Tensor:
    """``[V, 2]`` tooth coordinates; heights of teeth that the jaw carries are negative."""
    lower = template.expression[ARKIT_INDEX["jawOpen"]].norm(dim=1) > JAW_MOVES
    return torch.stack([template.arch[:, 0], torch.where(lower, -1.0, 1.0) * template.arch[:, 1]], 1)


def _about_eyes(template: HeadTemplate) -> Tensor:
    """``[V]``: 1 on the lids, 0 from twice as far from the eyeballs. The far eye of a turned head closes too."""
    eyes = template.mean[template.triangles[template.part == Part.EYE].unique()]
    front = template.mean[:, 2] > eyes[:, 2].mean()
    return (2 - torch.cdist(template.mean, eyes).amin(1) / LID_REACH).clamp(0, 1) * front


def _about_mouth(template: HeadTemplate) -> Tensor:
    """``[V]`` bool: no farther from the corners of the mouth than `CHEEK`."""
    corners = template.on_surface(template.mean, torch.tensor([61, 291]))
    return torch.cdist(template.mean, corners).amin(1) < CHEEK


def _around_chin(template: HeadTemplate) -> Tensor:
    """``[V]`` bool: lower than the lower lip, and not farther below the chin than `THROAT`."""
    lip, chin = template.on_surface(template.mean, torch.tensor([17, 152]))[:, 1]
    return (template.mean[:, 1] < lip) & (template.mean[:, 1] > chin - THROAT)


def _seen_pixels(template: HeadTemplate, vertices: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """``[V, 2]`` px: where each vertex finds its colour; skin that the picture hides borrows from the nearest it shows; and
    which skin that is, ``[V]``.

    Lids keep their own place: what is folded away there lies on skin of the right colour already.
    """
    W, H = size
    depth = rasterize(vertices[None] * torch.tensor([2, 2, 1.0]), template.triangles, (2 * H, 2 * W)).depth[0]
    x, y = (vertices[:, 0] * 2).long().clamp(0, 2 * W - 1), (vertices[:, 1] * 2).long().clamp(0, 2 * H - 1)
    skin = torch.zeros(len(vertices), dtype=torch.bool)
    skin[template.triangles[template.part == Part.SKIN].unique()] = True
    eyes = template.mean[template.triangles[template.part == Part.EYE].unique()]
    lids = torch.cdist(template.mean, eyes).amin(1) < LID_REACH
    tolerance = 0.03 * float(vertices[:, 0].max() - vertices[:, 0].min())
    shown = skin & (vertices[:, 2] > depth[y, x] - tolerance)
    hidden = skin & ~shown & ~lids
    nearest = torch.cdist(template.mean[hidden], template.mean[shown]).argmin(1)
    pixels = vertices[:, :2].clone()
    pixels[hidden] = pixels[shown.nonzero().squeeze(1)[nearest]]
    return pixels, hidden


def _mouth_light(portrait: Portrait, colourless: bool) -> Tensor:
    """Light on the face: skin colour of the cheeks against a middle skin tone, never quite dark; what its tint differs by
    from skin's own is the light's, most of it. Of a colourless picture all of its tint is."""
    W, H = portrait.size
    cheeks = portrait.face[list(CHEEKS), :2].long().clamp(torch.tensor(0), torch.tensor([W - 1, H - 1]))
    colour = portrait.image[:, cheeks[:, 1], cheeks[:, 0]].mean(1)
    luminance = colour @ torch.tensor(LUMINANCE)
    skin, share = ((1.0, 1.0, 1.0), 1.0) if colourless else (SKIN_TINT, CAST)
    cast = (colour / luminance.clamp(min=0.05) / torch.tensor(skin)).clamp(min=0.05) ** share
    return (0.35 + 0.75 * luminance) * cast / (cast @ torch.tensor(LUMINANCE))


def neutral_motion(frames: int) -> tuple[FaceMotion, BodyMotion]:
    """Zero motion: the picture itself."""
    face = FaceMotion(torch.zeros(frames, len(ARKIT_NAMES)), torch.zeros(frames, 3), torch.zeros(frames, 3))
    return face, BodyMotion(torch.zeros(frames, 14, 3), torch.zeros(frames, 2, 51))
