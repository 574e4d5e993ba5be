// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SchnorrSigning} from "contracts/services/SchnorrSigning.sol";
import {ServiceBase} from "contracts/services/ServiceBase.sol";

contract SecretStoreSchnorrSigningService is SchnorrSigning {
    constructor(address keyServerSetAddressInit) ServiceBase(keyServerSetAddressInit) {}
}
