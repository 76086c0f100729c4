"""Phrases that take clothes away: "remove the red dress", "her blouse is gone", "sin camiseta", "シャツを消して".

A list of such phrases would never end, so they are found by their make: a word for taking away and, close to it, one
for a garment that covers. Coats, hats, scarves and glasses come off in everyday edits and are no such garments. It is
evidence about a picture of somebody only; elsewhere it says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from safety.prompt_filter.normalise import fold, words_of


def _set(words: str) -> frozenset[str]:
    return frozenset(words_of(fold(words)))


_CLAUSE = re.compile(r"[,.;:|\n!?、，。；]+")
_REMOVING = _set(
    "remove removes removing delete deletes deleting erase erases erasing strip stripping lose losing rip ripping "
    "tear tearing unbutton unzip untie unhook lift lifting hike pull pulling peel peeling shed shedding discard "
    "ditch eliminate omit vanish dissolve without minus sans undo loosen quita quitar quitale elimina eliminar "
    "saca sacar borra borrar sin enleve enlever enlevez retire retirer supprime supprimer entferne entfernen ohne "
    "ziehe zieh togli togliere rimuovi rimuovere leva levare senza tira tirar tire remova remover retira retirar "
    "sem verwijder verwijderen zonder trek ta bort utan fjern uden uten poista ilman usun usunac zdejmij zdjac bez "
    "sundej odstran cikar cikart kaldir sil сними снять сняв убери убрать удали удалить стяни стянуть без зніми "
    "прибери βγαλε αφαιρεσε χωρις lepas lepaskan buka hapus hilangkan tanpa coi xoa bo khong انزع اخلع ازل احذف "
    "بدون हटा हटाओ उतार उतारो बिना הסר תוריד בלי"
)
_TAKING = _set("take takes taking taken took get getting got")
_GONE = _set(
    "gone missing falls falling fell dropped vanish vanishes vanished vanishing disappear disappears disappeared "
    "dissolve dissolves dissolving removed torn ripped transparent invisible sheer unbuttoned unzipped undone off "
    "rides opens discarded shed peeled lifted hiked lowered optional free"
)
_CLEAR = _set(
    "transparent transparente transparentes transparenti transparentes trasparente trasparenti durchsichtig "
    "durchsichtige durchsichtiges durchsichtiger doorzichtig doorzichtige genomskinlig przezroczysta przezroczyste "
    "przezroczysty seffaf прозрачная прозрачное прозрачные прозрачной прозрачную прозора διαφανη transparan شفافة شفاف "
    "पारदर्शी שקופה שקוף invisible unsichtbar"
)
_NONE = _set("no none zero keine kein keinen ningun ninguna aucun aucune nessun nessuna nenhum nenhuma geen ingen brak")
_UNDER = _set("beneath under underneath behind through")
_SHOWING = _set("show shows showing see seeing reveal reveals revealing visible look looks what nothing bare")
_GARMENTS = _set(
    "clothes clothing cloth garment garments outfit attire dress dresses shirt shirts tshirt top blouse skirt "
    "pants trousers jeans shorts leggings tights underwear panties bra bikini swimsuit lingerie uniform gown robe "
    "towel bodysuit bodice sari kimono wardrobe apparel fabric textile ropa camiseta camisa blusa vestido falda "
    "pantalones pantalon sujetador bragas sosten prendas vetements vetement habits chemise chemisier jupe haut "
    "soutien culotte kleidung kleider kleid hemd bluse rock hose bh oberteil slip unterwasche vestiti vestito "
    "abiti maglietta camicia gonna pantaloni reggiseno mutande maglia roupa roupas saia calcas calca sutia "
    "calcinha kleren kleding jurk rok broek trui beha klader klanning skjorta kjol byxor klaer toj kjole skjorte "
    "vaatteet mekko ubranie ubrania sukienke sukienka bluzke bluzka spodnice spodnie koszulke stanik obleceni saty "
    "sukni tricko kalhoty kiyafet kiyafetlerini elbise elbisesini giysi giysilerini gomlek etek sutyen одежду "
    "одежды одежда платье платья блузку блузки рубашку рубашки футболку футболки юбку юбки штаны штанов джинсы "
    "лифчик лифчика белье белья трусы трусов майку майки купальник купальника одяг сукню спідницю сорочку ρουχα "
    "φορεμα φουστα μπλουζα baju bajunya pakaian gaun celana kaos quan ao vay الملابس ملابس ملابسها فستان فستانها "
    "قميص قميصها تنورة कपड़े कपड़ों साड़ी ब्लाउज शर्ट בגדים בגדיה שמלה חולצה חצאית لباس پیراهن"
)
_ELSEWHERE = _set("from on in at with behind for to near around by of over and")
_WITHIN = 5  # words between the two
# Scripts without spaces: a garment and a word for taking away, in this order or the other, a few characters apart.
_WIDE_GARMENT = (
    "衣服|上衣|衣物|裙子|裙|衬衫|襯衫|裤子|褲子|内衣|內衣|内裤|胸罩|比基尼|泳衣|洋装|服|服装|洋服|シャツ|スカート|ドレス|ワンピース|"
    "ブラウス|ブラ|パンツ|ズボン|下着|水着|制服|着物|옷|상의|하의|셔츠|치마|드레스|속옷|바지|브라|블라우스|원피스|เสื้อผ้า|เสื้อ|กระโปรง|กางเกง|ชุด"
)
_WIDE_REMOVING = (
    "脱|脫|去掉|去除|移除|除去|删除|刪除|消除|消失|消し|消す|消え|取っ|取り除|取る|外し|はず|剥|はが|なし|無し|ない|透明|透け|透视|没有|沒有|不要|别穿|掀|扒|"
    "벗|제거|지워|없애|없이|없는|투명|내려|찢|ถอด|ลบ|ไม่ใส่|เอาออก|โปร่ง|不穿|没穿|沒穿"
)
_WIDE = re.compile(
    f"(?:{fold(_WIDE_GARMENT)})[^,、，。.;\n]{{0,8}}(?:{fold(_WIDE_REMOVING)})"
    f"|(?:{fold(_WIDE_REMOVING)})[^,、，。.;\n]{{0,8}}(?:{fold(_WIDE_GARMENT)})"
)


def baring(text: str) -> str | None:
    """The phrase that takes a garment away, as it reads after folding; None without one."""
    low = fold(text)
    if match := _WIDE.search(low):
        return match[0]
    for clause in _CLAUSE.split(text):
        words = words_of(fold(clause))
        if not _GARMENTS.isdisjoint(words) and (found := _in_clause(words)):
            return found
    return None


def _in_clause(words: Sequence[str]) -> str | None:
    for at, word in enumerate(words):
        ahead = words[at + 1 : at + 2 + _WITHIN]
        if word in _REMOVING or (word in _TAKING and ("off" in ahead or "rid" in ahead)):
            end = _first(ahead, _GARMENTS)
        elif word in _GARMENTS and "shoulder" not in ahead and "shoulders" not in ahead:  # a cut, not a state
            end = _first(ahead[:4], _GONE | _CLEAR)
            end = 0 if end is None and ahead[:1] and ahead[0] in ("none", "zero", "0") else end
        elif word in _CLEAR or word in _NONE:
            end = _first(ahead[:2], _GARMENTS)
        elif word in _UNDER and not _SHOWING.isdisjoint(words[max(0, at - 5) : at]):
            end = _first(ahead[:3], _GARMENTS)
        else:
            continue
        if end is not None:
            return " ".join(words[at : at + 2 + end])
    return None


def _first(words: Sequence[str], wanted: frozenset[str]) -> int | None:
    """Where the first wanted word stands, unless a preposition comes before it: a stain "on the shirt" is a stain."""
    for at, word in enumerate(words):
        if word in wanted:
            return at
        if word in _ELSEWHERE:
            return None
    return None
