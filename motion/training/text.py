"""What the training voices say: sentences drawn from small word lists, numbers, and made-up words.

The meaning does not matter, the sounds and the rhythm do. Lists and templates are ours; espeak-ng knows how each
language pronounces them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Language:
    """A language of the corpus: espeak-ng's voice, how often it is drawn, its words; `space` joins them."""

    voice: str
    weight: float
    words: tuple[str, ...]
    space: str = " "


_EN = """the a of and to in we you they I he she it that this was were have had will would could people member
problem before about maybe above both because become between over very ever never five twelve village
voice vowel fever favour family father mother brother sister baby baker bubble bottle paper people pepper
puppet pump map lamp jump number summer winter water weather wonder window woman world work word always
away quick queen quiet question shape she sharp sugar usual pleasure measure treasure church cheese chair
teacher picture nature judge jacket major orange garage think thing three thousand nothing something
birthday weather breathe smooth both teeth look book good food moon blue two shoe true who school music
beautiful few new news huge open over home alone stone phone road boat coat snow window yellow follow all
talk walk water morning story for four door floor more warm boy toy noise choice point oil how now house
mouth south out about loud cloud town brown car far start heart large glass laugh half ask last cat hat
man hand land black back happy apple angry bed red head bread said many any friend letter weather he see
green tree sea leave each week sleep big milk window kitchen listen little city pretty busy minute cup
cut love some money country young blood trouble bird word learn early nurse first girl turn hear here
near year fear clear air care fair where their hair there morning evening night light right bright sky
high fly try my time fine line life five drive arrive island great train rain say day may play stay wait
late name same game place face space table able paper station nation simple example temple problem public
bumper member remember empty simply important impossible computer company compare keep come give take
make find bring tell ask show hope help stop start feel mean seem believe receive provide prove move
remove improve above love glove twelve wolf half calf laugh rough enough photo graph phrase fifth sixth
months clothes strength length asks tests lists sprint street splash scream throw through thread shrug
shrink square""".split()

_TEMPLATES_EN = (
    "I think {} {} is not as {} as it used to be.", "Please bring me {} {} before {}.", "Why would {} {} want {}?",
    "Maybe we should move {} above {}.", "{}, {} and {}.", "My {} bought five {} from a {} woman.",
    "What a {} {}!", "He said that {} was {}, but nobody believed him.", "Every {} has its {}.",
    "Could you repeat {} {}, please?", "If it rains, {} will {} the {}.", "She has been {} for {} years.",
    "Welcome to {} {}, my name is {}.", "You know, {} is {}. And {} is not.", "Hello! How was {} {} today?",
    "We pay {} more for {} than for {}.", "Yes.", "No, no, no.", "Thank you very much.", "Well, it depends.",
)

_DE = """der die das und ist nicht ein eine wir ihr sie haben werden über für mit auf vor Vater Mutter Bruder
Schwester Baum Buch Brot Wasser Wetter Woche Welt Wort Pfeffer Apfel Kopf Schiff Fisch Tisch Stuhl Straße
schön schwer schnell früh Tür Füße müde über Bücher Küche Mädchen Löffel böse können mögen Freude heute
Leute Feuer neun Haus Maus laut Zeit zwei drei vier fünf sechs sieben acht zehn Problem Papier Kaffee
Milch Sommer Winter Himmel Blume immer nimmer bitte danke Abend Morgen Nacht Licht nicht Ich dich mich
auch doch Loch Sprache sprechen verstehen wohnen gehen""".split()
_FR = """le la les un une des et est pas nous vous ils avoir être pour avec sur devant père mère frère soeur arbre
livre pain eau temps semaine monde mot pomme tête bateau poisson table chaise rue beau lourd vite tôt
porte pied fatigué peur fleur heure deux peu feu bleu lune rue vue tu plus bon vin blanc mon son long
enfant chanson matin jardin maison famille fille bouche bébé problème papier café lait été hiver ciel
toujours jamais merci bonjour bonsoir nuit lumière oui parler comprendre habiter aller venir pouvoir
vouloir savoir joli jour jouer cheval château""".split()
_ES = """el la los un una y es no nosotros ustedes tener ser para con sobre delante padre madre hermano hermana
árbol libro pan agua tiempo semana mundo palabra manzana cabeza barco pez mesa silla calle bonito pesado
rápido temprano puerta pie cansado miedo flor hora dos poco fuego azul luna bueno vino blanco largo niño
canción mañana jardín casa familia boca bebé problema papel café leche verano invierno cielo siempre
nunca gracias noche luz sí hablar vivir comprender llegar querer poder saber perro guerra zapato llave
lluvia ojo viejo joven mujer hombre cinco""".split()
_IT = """il la i un una e non noi voi avere essere per con sopra davanti padre madre fratello sorella albero libro
pane acqua tempo settimana mondo parola mela testa barca pesce tavolo sedia strada bello pesante veloce
presto porta piede stanco paura fiore ora due poco fuoco blu luna buono vino bianco lungo bambino canzone
mattina giardino casa famiglia bocca problema carta caffè latte estate inverno cielo sempre mai grazie
buonasera notte luce parlare capire abitare andare venire potere volere sapere ragazzo pizza zucchero
gnocchi sciarpa perché città""".split()
_PT = """o a os um uma e não nós você ter ser para com sobre pai mãe irmão irmã árvore livro pão água tempo semana
mundo palavra maçã cabeça barco peixe mesa cadeira rua bonito pesado rápido cedo porta pé cansado medo
flor hora dois pouco fogo azul lua bom vinho branco longo menino canção manhã jardim casa família boca
bebê problema papel café leite verão inverno céu sempre nunca obrigado noite luz sim falar viver chegar
querer poder saber muito chuva olho""".split()
_RU = """и в не на я он она мы вы они быть иметь для перед отец мать брат сестра дерево книга хлеб вода погода
неделя мир слово яблоко голова лодка рыба стол стул улица красивый тяжёлый быстро рано дверь нога усталый
страх цветок час два мало огонь синий луна хороший вино белый длинный ребёнок песня утро сад дом семья
рот проблема бумага кофе молоко лето зима небо всегда никогда спасибо вечер ночь свет да говорить
понимать жить идти хотеть мочь знать почему пожалуйста большой человек время жизнь вопрос площадь щука
жук шум чай ёлка""".split()
_ZH = """我 你 他 我们 你们 是 不 有 在 上 前面 爸爸 妈妈 哥哥 妹妹 树 书 面包 水 天气 星期 世界 话 苹果 头 船 鱼 桌子 椅子 街 漂亮 重 快 早 门 脚 累 怕 花 小时 两 少 火 蓝
月亮 好 酒 白 长 孩子 歌 早上 花园 家 嘴 问题 纸 咖啡 牛奶 夏天 冬天 天空 总是 从来 谢谢 晚上 光 说 明白 住 去 来 可以 想 知道 吃饭 朋友 老师 学生 北京 上海 风 雨 女人
跑步 不错 什么""".split()
_HI = """मैं तुम वह हम और है नहीं में पर पिता माता भाई बहन पेड़ किताब रोटी पानी मौसम दुनिया शब्द सेब सिर नाव मछली
मेज कुर्सी सड़क सुंदर भारी जल्दी दरवाज़ा पैर थका डर फूल घंटा दो आग नीला चाँद अच्छा सफ़ेद लंबा बच्चा गाना
सुबह बाग घर परिवार मुँह समस्या काग़ज़ दूध गर्मी सर्दी आकाश हमेशा कभी धन्यवाद शाम रात रोशनी बोलना समझना
रहना जाना आना""".split()
_JA = """わたし あなた かれ ちち はは あに いもうと き ほん パン みず てんき せかい ことば りんご あたま ふね さかな つくえ いす まち きれい おもい はやい とびら あし つかれた はな じかん ひ
あおい つき よい しろい ながい こども うた あさ にわ いえ くち もんだい かみ コーヒー ぎゅうにゅう なつ ふゆ そら いつも ありがとう よる ひかり はなす わかる すむ いく くる ふたつ""".split()
_KO = """나 너 우리 아버지 어머니 형 누나 나무 책 빵 물 날씨 세계 말 사과 머리 배 물고기 책상 의자 거리 예쁜 무거운 빨리 문 발 꽃 시간 둘 불 파란 달 좋은 하얀 긴 아이 노래 아침 정원
집 입 문제 종이 커피 우유 여름 겨울 하늘 항상 감사합니다 저녁 밤 빛 말하다 알다 살다 가다 오다""".split()
_AR = """أنا أنت هو نحن و في لا أب أم أخ أخت شجرة كتاب خبز ماء طقس عالم كلمة تفاحة رأس سفينة سمك طاولة كرسي شارع
جميل ثقيل سريع باب قدم زهرة ساعة نار أزرق قمر أبيض طويل طفل أغنية صباح حديقة بيت فم مشكلة ورق قهوة حليب
صيف شتاء سماء دائما شكرا مساء ليل نور يتكلم يفهم يسكن يذهب""".split()
_TR = """ben sen o biz ve bir değil baba anne kardeş ağaç kitap ekmek su hava dünya kelime elma baş gemi balık
masa sandalye sokak güzel ağır hızlı kapı ayak yorgun çiçek saat iki ateş mavi ay iyi beyaz uzun çocuk
şarkı sabah bahçe ev aile ağız sorun kağıt kahve süt yaz kış gök hep teşekkür akşam gece ışık konuşmak
anlamak yaşamak gitmek gülmek""".split()
_PL = """ja ty on my i jest nie w na ojciec matka brat siostra drzewo książka chleb woda pogoda świat słowo jabłko
głowa statek ryba stół krzesło ulica piękny ciężki szybko drzwi noga zmęczony kwiat godzina dwa ogień
niebieski księżyc dobry biały długi dziecko piosenka rano ogród dom rodzina usta problem papier kawa
mleko lato zima niebo zawsze dziękuję""".split()
_NL = """ik jij hij wij en is niet een vader moeder broer zus boom boek brood water weer wereld woord appel hoofd
schip vis tafel stoel straat mooi zwaar snel deur voet moe bloem uur twee vuur blauw maan goed wit lang
kind lied morgen tuin huis familie mond probleem papier koffie melk zomer winter hemel altijd bedankt
avond nacht licht spreken wonen""".split()

LANGUAGES: dict[str, Language] = {
    language.voice: language for language in (
        Language("en-us", 4.0, tuple(_EN)), Language("en", 2.0, tuple(_EN)),
        Language("en-gb-x-rp", 0.7, tuple(_EN)), Language("en-gb-scotland", 0.5, tuple(_EN)),
        Language("de", 1.0, tuple(_DE)), Language("fr", 1.0, tuple(_FR)), Language("es", 1.0, tuple(_ES)),
        Language("it", 0.8, tuple(_IT)), Language("pt-br", 0.6, tuple(_PT)), Language("ru", 0.8, tuple(_RU)),
        Language("cmn", 0.9, tuple(_ZH), ""), Language("hi", 0.7, tuple(_HI)), Language("ja", 0.5, tuple(_JA)),
        Language("ko", 0.5, tuple(_KO)), Language("ar", 0.5, tuple(_AR)), Language("tr", 0.4, tuple(_TR)),
        Language("pl", 0.4, tuple(_PL)), Language("nl", 0.4, tuple(_NL)),
    )
}

_ONSETS = "b p m f v w t d n s z l r k g h j sh ch th br pl fl tr st sp sm sw kw gr mw by pr bl".split()
_RHYMES = "a e i o u ai ou oo ee aw am ep ib of uv ash eth op um in ab if ev oy ar or er".split()


def invented_word(rng: np.random.Generator) -> str:
    """One to three random syllables, so that every sound meets every other."""
    return "".join(str(rng.choice(_ONSETS)) + str(rng.choice(_RHYMES)) for _ in range(int(rng.integers(1, 4))))


def random_sentence(voice: str, rng: np.random.Generator) -> str:
    """A sentence for an espeak-ng voice of `LANGUAGES`: mostly words, in English often a template or invented."""
    language = LANGUAGES[voice]
    if voice.startswith("en"):
        return _english(language, rng)
    words = [str(word) for word in rng.choice(language.words, int(rng.integers(2, 11)))]
    return language.space.join(words) + str(rng.choice([".", ".", "?", "!"]))


def _english(language: Language, rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.45:
        template = str(rng.choice(_TEMPLATES_EN))
        return template.format(*(str(word) for word in rng.choice(language.words, template.count("{}"))))
    if kind < 0.6:
        return " ".join(invented_word(rng) for _ in range(int(rng.integers(2, 8)))) + "."
    if kind < 0.66:
        return ", ".join(str(number) for number in rng.integers(0, 200, int(rng.integers(2, 6)))) + "."
    words = [str(word) for word in rng.choice(language.words, int(rng.integers(2, 13)))]
    if len(words) > 6:
        words[len(words) // 2] += ","
    return " ".join(words) + str(rng.choice([".", ".", ".", "?", "!"]))
