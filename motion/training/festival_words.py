"""Words for the voices of Festival whose languages the corpus of espeak-ng has not: Czech, Finnish, Catalan."""

from __future__ import annotations

_CS = """a v na že se já on ona my vy oni být mít pro před otec matka bratr sestra strom kniha chléb voda počasí týden
svět slovo jablko hlava loď ryba stůl židle ulice krásný těžký rychle brzy dveře noha unavený strach květ hodina dvě
málo oheň modrý měsíc dobrý víno bílý dlouhý dítě píseň ráno zahrada dům rodina ústa problém papír káva mléko léto
zima nebe vždy nikdy děkuji večer noc světlo mluvit rozumět bydlet jít chtít moci vědět proč prosím velký člověk čas
život otázka řeka tři čtyři řeč hřích příroda žába šátek čokoláda ježek ďábel ťukat ňadra pět šest sedm osm devět
deset hříbě vlk krk prst čtvrt zmrzlina bouřka fialový babička pampeliška máma táta pepř pivo mapa žluťoučký kůň
úpěl ďábelské ódy chochol hora houba džbán jdou účet auto euro neutrální""".split()
_FI = """ja on ei minä sinä hän me te he olla isä äiti veli sisko puu kirja leipä vesi sää viikko maailma sana omena pää
laiva kala pöytä tuoli katu kaunis raskas nopea aikainen ovi jalka väsynyt pelko kukka tunti kaksi vähän tuli sininen
kuu hyvä viini valkoinen pitkä lapsi laulu aamu puutarha talo perhe suu ongelma paperi kahvi maito kesä talvi taivas
aina kiitos ilta yö valo puhua ymmärtää asua mennä tulla haluta voida tietää miksi ole hyvä suuri ihminen aika elämä
kysymys yksi kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän kymmenen syödä juoda hyppiä mummo pappa piippu
pommi hopea rumpu lampaat kampa kengät rengas löytää työ köyhä hyöty tyttö poika vauva leikkiä raaka haamu riihi
fyysinen vihreä vappu kaappi""".split()
_CA = """el la els les un una i és no nosaltres vosaltres tenir ser per amb sobre davant pare mare germà germana arbre
llibre pa aigua temps setmana món paraula poma cap vaixell peix taula cadira carrer bonic pesat ràpid aviat porta peu
cansat por flor hora dos poc foc blau lluna bo vi blanc llarg nen cançó matí jardí casa família boca problema paper
cafè llet estiu hivern cel sempre mai gràcies nit llum sí parlar viure entendre arribar voler poder saber gos guerra
sabata clau pluja ull vell jove dona home cinc xocolata jugar metge platja caixa pluja muntanya any puny vuit nou deu
llop mirall roba fum vermell groc verd negre gener febrer març abril maig juny juliol setembre octubre""".split()

WORDS: dict[str, tuple[str, ...]] = {"cs": tuple(_CS), "fi": tuple(_FI), "ca": tuple(_CA)}
