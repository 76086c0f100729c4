"""The concepts a newcomer tries first: the denoiser spends most of its time on them."""

EVERYDAY = frozenset(
    label.strip()
    for label in """
    grapes, melon, watermelon, tangerine, lemon, lime, banana, pineapple, mango, red apple, green apple, pear, peach,
    cherries, strawberry, blueberries, kiwi fruit, tomato, coconut, avocado, eggplant, potato, carrot, ear of corn,
    hot pepper, broccoli, garlic, onion, mushroom, bread, croissant, pretzel, pancakes, cheese wedge, hamburger,
    french fries, pizza, hot dog, sandwich, taco, egg, cooking, green salad, popcorn, spaghetti, sushi,
    soft ice cream, ice cream, doughnut, cookie, birthday cake, shortcake, cupcake, pie, chocolate bar, candy,
    lollipop, honey pot, glass of milk, hot beverage, wine glass, beer mug, monkey face, monkey, gorilla, dog face,
    dog, poodle, wolf, fox, raccoon, cat face, cat, black cat, lion, tiger face, tiger, horse face, horse, unicorn,
    zebra, deer, cow face, cow, pig face, pig, goat, camel, giraffe, elephant, hippopotamus, mouse face, mouse,
    hamster, rabbit face, rabbit, hedgehog, bat, bear, polar bear, koala, panda, sloth, kangaroo, turkey, chicken,
    rooster, hatching chick, baby chick, bird, penguin, dove, eagle, duck, swan, owl, flamingo, peacock, parrot,
    frog, crocodile, turtle, lizard, snake, dragon, sauropod, T-Rex, whale, spouting whale, dolphin, fish,
    tropical fish, blowfish, shark, octopus, spiral shell, crab, lobster, snail, butterfly, bug, ant, honeybee,
    lady beetle, spider, bouquet, cherry blossom, rose, hibiscus, sunflower, tulip, seedling, potted plant,
    evergreen tree, deciduous tree, palm tree, cactus, four leaf clover, maple leaf, house, house with garden,
    castle, mountain, snow-capped mountain, volcano, tent, school, church, hospital, automobile,
    sport utility vehicle, taxi, police car, ambulance, fire engine, bus, delivery truck, racing car, motorcycle,
    bicycle, tractor, locomotive, airplane, helicopter, rocket, flying saucer, sailboat, ship, sun, sun with face,
    crescent moon, full moon, star, glowing star, cloud, rainbow, umbrella, snowflake, snowman, fire, droplet,
    high voltage, balloon, wrapped gift, Christmas tree, jack-o-lantern, trophy, soccer ball, basketball,
    baseball, teddy bear, crystal ball, glasses, sunglasses, t-shirt, jeans, dress, crown, top hat, running shoe,
    backpack, ring, gem stone, bell, guitar, trumpet, violin, drum, microphone, headphone, radio, television,
    camera, mobile phone, laptop, light bulb, candle, open book, books, envelope, pencil, scissors, key, locked,
    hammer, axe, bed, chair, alarm clock, watch, hourglass done, grinning face, smiling face, winking face,
    crying face, loudly crying face, angry face, smiling face with sunglasses, smiling face with heart-eyes,
    face with tears of joy, thinking face, sleeping face, nerd face, cowboy hat face, ghost, alien, robot, skull,
    clown face, pile of poo, red heart, broken heart, man, woman, boy, girl, baby, health worker,
    man health worker, woman health worker, donkey, jellyfish, squid, scorpion, bacon, bagel, waffle, teapot, anchor,
    canoe, parachute, kite, saxophone, telephone, desktop computer, bomb, magnet, shield, broom, couch and lamp, door
    """.replace("\n", " ").split(",")
)
